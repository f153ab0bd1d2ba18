"""Judges beside the held-out reward model: models that are asked, in both orders, which of two responses is the better one."""

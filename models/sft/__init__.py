"""Supervised fine-tuning: a policy from demonstrations, before PPO."""

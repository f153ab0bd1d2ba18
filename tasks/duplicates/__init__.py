"""What is there twice: near-duplicate prompts and responses, and prompts of held-out evaluation sets."""

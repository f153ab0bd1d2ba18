"""The reward model: its data, its training, and how good it is."""

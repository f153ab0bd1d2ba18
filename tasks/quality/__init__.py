"""What the judgments are worth: agreement, and the preferences that are learned from."""

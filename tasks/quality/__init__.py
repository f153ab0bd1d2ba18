"""What the judgments are worth: their quality, and the preferences that are learned from."""

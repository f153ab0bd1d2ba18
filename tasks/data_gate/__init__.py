"""Whether the night's feedback may be learned from: rules on its quality, and one verdict before any training."""

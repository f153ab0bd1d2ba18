"""What a policy is rewarded for, as a sum of terms: the reward model, functions of one's own, and written rules."""

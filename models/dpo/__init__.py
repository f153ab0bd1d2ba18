"""Direct preference optimisation: a policy from preferences, without a reward model and without rollouts."""

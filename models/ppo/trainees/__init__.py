"""What learns in PPO: the policy beside its reference, and what forecasts values."""

"""PPO for language models: rollouts, the mathematics, updates, and the job that runs them."""

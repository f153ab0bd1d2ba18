"""How good a reward model is: its figures on preferences, beside baselines and another model, and on benchmark files."""

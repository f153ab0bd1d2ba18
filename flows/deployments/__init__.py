"""The flows that a Prefect server runs: what they take, where they find the home, and what they show on a run's page."""

"""The learning machinery, runnable on a bare GPU machine as `python -m models <job>`."""

"""A complete local installation: Prefect's server and two workers, started, stopped and looked at."""

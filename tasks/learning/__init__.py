"""The learning stages, each run as a worker process."""

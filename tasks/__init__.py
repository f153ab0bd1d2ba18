"""One file per stage: pure functions first, one thin Prefect task last."""

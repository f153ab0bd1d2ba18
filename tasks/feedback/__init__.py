"""From source files to a checked snapshot of the lake."""

"""What is measured of responses one by one: by a function of one's own, by patterns, by what code does."""

"""Private data: found, kept out, and forgotten on request."""

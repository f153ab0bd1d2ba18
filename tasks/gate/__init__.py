"""Whether the policy may ship: rules on what was measured of it and of its judges, and one verdict."""

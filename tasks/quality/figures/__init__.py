"""What the figures are, as pure functions of counts and sums: no tables, no lake."""

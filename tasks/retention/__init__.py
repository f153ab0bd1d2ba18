"""What of a home is still needed, and what may go."""

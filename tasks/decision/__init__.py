"""What the night decides and how it tells: gate, registry, report."""

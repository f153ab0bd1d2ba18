"""What people are asked to judge next: chosen, kept, and written for annotation tools."""

"""Aggregation: what the annotators' verdicts on one comparison say together, and how far each annotator can be relied on."""

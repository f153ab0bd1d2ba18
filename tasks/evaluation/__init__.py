"""Stored models evaluated on files from outside."""

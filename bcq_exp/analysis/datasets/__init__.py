"""Datasets looked at and rewritten: what a file holds, what spoils learning from it, other formats."""

"""Training of a generator."""

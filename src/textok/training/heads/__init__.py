"""Training of small heads on frozen features."""

"""Metrics as functions and mergeable sums; each names what it compares and with which network."""

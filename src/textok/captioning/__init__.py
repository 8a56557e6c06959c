"""Captions for pictures that have none: writers, a judge of what they write, and files by key that can be resumed."""

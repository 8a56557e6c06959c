"""Losses of the tokenizers and generators as plain torch; this package imports neither models nor data."""

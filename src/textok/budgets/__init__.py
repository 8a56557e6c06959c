"""Soft token budgets: each picture takes as few tokens as a quality needs."""

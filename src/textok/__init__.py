"""Text-conditioned image tokenization and generation."""

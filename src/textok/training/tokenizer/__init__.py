"""Training of a tokenizer."""

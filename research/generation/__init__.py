"""The generation study: the same generator on the tokens of several tokenizers."""

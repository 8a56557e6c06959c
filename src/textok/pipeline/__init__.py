"""Pictures and captions in, tokens and pictures out: the trained models, ready to use."""

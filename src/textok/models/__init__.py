"""The tokenizer and the text it reads: plain torch, one device, nothing of training."""

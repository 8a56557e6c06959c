"""How good a tokenizer or a generator is: protocols, metrics with honest names, pages to look at."""

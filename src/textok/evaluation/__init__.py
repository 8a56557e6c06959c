"""How good a tokenizer is: metrics with honest names, the reconstruction protocol, grids and the report."""

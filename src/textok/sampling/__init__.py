"""How noise becomes tokens: flows, masked decoding, random numbers. Pure functions under the models."""

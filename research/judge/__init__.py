"""The judge: which things, colours, places, counts and background a picture of a scene shows."""

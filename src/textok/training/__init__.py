"""Training: a visible loop, its run folder, and what it draws at random."""

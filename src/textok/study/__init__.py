"""Studies: many trainings that differ in one thing, run from one command and told in tables."""

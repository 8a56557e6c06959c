"""The caption study: tokenizer trainings that differ in one thing, scored and put into tables."""

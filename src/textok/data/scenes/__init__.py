"""Scenes: pictures composed from drawings, with captions at three densities and the facts behind both."""

"""Rectified flow against noise prediction, on the same latents."""

"""The parts of ``rate_distortion.py``: coding pictures, counting bytes, and the page."""

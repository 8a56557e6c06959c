"""Comparisons of trainings that this project ran: scripts on top of the package, outside the wheel."""

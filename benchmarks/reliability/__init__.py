"""Faults on purpose: commands that are killed, disks that fill, two processes at once, files that are mutated."""

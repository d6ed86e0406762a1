"""Judges of what a generator plays: each takes a generator and real music, and returns a Report."""

"""Arithmetic on samples: no I/O, no NumPy."""

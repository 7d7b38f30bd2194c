"""diffrender."""

"""One adapter for each simulator."""

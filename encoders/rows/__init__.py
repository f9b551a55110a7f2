"""Rows of the encoder catalog, by kind."""

"""Weights: where they lie, how they are fetched, read and checked."""

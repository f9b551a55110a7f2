"""Imagination: transition models on frozen features, their error against the horizon, and planning with them."""

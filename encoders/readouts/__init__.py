"""Readouts: what a head is given of an encoder's features."""

"""Encoder families: one module each, which makes an encoder of a row."""

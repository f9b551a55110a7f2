"""Frozen visual encoders: uint8 images in, features out."""

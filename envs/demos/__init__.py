"""Demonstrations: collected, stored, read and exchanged."""

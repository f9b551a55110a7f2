"""Scripted experts that read the privileged state."""

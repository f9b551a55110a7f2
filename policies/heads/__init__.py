"""Behaviour-cloning heads: one module each."""

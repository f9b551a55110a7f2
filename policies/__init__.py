"""Behaviour-cloning heads: features in, actions out."""

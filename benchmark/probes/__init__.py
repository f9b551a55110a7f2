"""Probes: what can be said of a frozen encoder on a task without training a policy."""

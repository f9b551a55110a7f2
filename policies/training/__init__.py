"""How heads are trained: many stacked as one computation."""

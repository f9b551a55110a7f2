"""Changed looks of a scene: one function for each axis, applied to what pictures are drawn from."""

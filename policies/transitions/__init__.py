"""Transition models: what the latent of the next frame is, given the last frames and the actions between them."""

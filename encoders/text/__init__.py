"""Text encoders: instructions -> embeddings that policies are conditioned on."""

"""The encoders that are shipped: weights, cards and how they were pretrained."""

"""Pretraining objectives on one small network, one set of frames and one budget."""

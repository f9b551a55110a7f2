"""From records to estimates, intervals, paired tests and ranks. No torch, no simulator."""

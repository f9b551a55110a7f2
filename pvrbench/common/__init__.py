"""What encoders, tasks, policies and the benchmark share: small, light, and independent of all four."""

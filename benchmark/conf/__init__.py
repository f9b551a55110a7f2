"""YAML configuration, composed by Hydra."""

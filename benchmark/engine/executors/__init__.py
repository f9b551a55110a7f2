"""Where the jobs of a run are done. One module each; importable without torch."""

"""Records of a run: their schema, how they are stored, packed and migrated."""

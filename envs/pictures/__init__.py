"""Pictures of a scene: rendering, lean meshes, frames, changed looks."""

"""Visual meshes with a fraction of their faces, for pictures on machines without a GPU."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pvrbench.envs.base import Array

# Fraction of its faces that a visual mesh keeps under `lean`, the number below which it is left alone, and how soon the
# simplifier merges what it should not: from 3 on, robosuite's pedestal has holes.
KEPT_FACES = 0.15
MIN_FACES = 120
AGGRESSION = 2.0

# mujoco.mjtGeom.mjGEOM_MESH; importing mujoco is left to the module `rendering`, which chooses OpenGL first.
MESH = 7

_MESH_ARRAYS = (
    "mesh_vert",
    "mesh_face",
    "mesh_normal",
    "mesh_facenormal",
    "mesh_facenum",
    "mesh_vertnum",
    "mesh_normalnum",
    "mesh_texcoordadr",
)

# Decimated mesh arrays by the digest of the full ones: a process makes many environments of few scenes.
_decimated: dict[bytes, tuple[Array, ...]] = {}


def simplify_meshes(model: Any) -> None:
    """Thins out the meshes of a picture model that are drawn without a texture, in place."""
    arrays = [getattr(model, name) for name in _MESH_ARRAYS]
    meshes = sorted(_plain_meshes(model))
    content = hashlib.sha256(repr(meshes).encode())
    for array in arrays:
        content.update(array.tobytes())
    key = content.digest()
    if key not in _decimated:
        for mesh in meshes:
            _decimate(model, mesh)
        _decimated[key] = tuple(array.copy() for array in arrays)
    for array, decimated in zip(arrays, _decimated[key], strict=True):
        array[:] = decimated


def _plain_meshes(model: Any) -> set[int]:
    """Meshes that no geom draws with a texture: many have texture coordinates that nothing uses."""
    is_mesh = (model.geom_type == MESH) & (model.geom_dataid >= 0)
    textured = np.array([mat >= 0 and bool((model.mat_texid[mat] >= 0).any()) for mat in model.geom_matid], bool)
    return set(model.geom_dataid[is_mesh].tolist()) - set(model.geom_dataid[is_mesh & textured].tolist())


def _decimate(model: Any, mesh: int) -> None:
    """Replaces a mesh by one of fewer faces, inside the arrays of the compiled model.

    The arrays keep their sizes; only the counts shrink. Vertices are welded first, since the shipped meshes store each
    of them once for every face that uses it.
    """
    import fast_simplification as untyped_simplification

    simplification: Any = untyped_simplification

    num_faces, num_verts = int(model.mesh_facenum[mesh]), int(model.mesh_vertnum[mesh])
    if num_faces <= MIN_FACES:
        return
    face_at, vert_at, normal_at = (
        int(array[mesh]) for array in (model.mesh_faceadr, model.mesh_vertadr, model.mesh_normaladr)
    )
    faces = model.mesh_face[face_at : face_at + num_faces]
    verts: Array = model.mesh_vert[vert_at : vert_at + num_verts]
    welded: Array
    index: Array
    welded, index = np.unique(np.round(verts, 6), axis=0, return_inverse=True)
    target = max(KEPT_FACES, MIN_FACES / num_faces)
    points: Array
    triangles: Array
    points, triangles = simplification.simplify(
        welded.astype(np.float32),
        index.reshape(-1)[faces].astype(np.int32),
        target_reduction=1 - target,
        agg=AGGRESSION,
    )
    normals = _vertex_normals(points, triangles)
    if (
        len(triangles) == 0
        or len(points) > min(num_verts, int(model.mesh_normalnum[mesh]))
        or len(triangles) > num_faces
    ):
        return
    model.mesh_vert[vert_at : vert_at + len(points)] = points
    model.mesh_face[face_at : face_at + len(triangles)] = triangles
    model.mesh_normal[normal_at : normal_at + len(points)] = normals
    model.mesh_facenormal[face_at : face_at + len(triangles)] = triangles
    model.mesh_facenum[mesh] = len(triangles)
    model.mesh_vertnum[mesh] = len(points)
    model.mesh_normalnum[mesh] = len(points)
    model.mesh_texcoordadr[mesh] = -1


def _vertex_normals(points: Array, triangles: Array) -> Array:
    """Unit normals at the vertices, the adjacent faces weighted by their area."""
    corners = points[triangles]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], face_normals)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

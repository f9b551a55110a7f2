"""Pictures of a task together with what they show, and pairs of them with exact counterparts of surface points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, UInt8

from pvrbench.benchmark.probes.base import ProbeError, Subject
from pvrbench.envs.base import Array, Task
from pvrbench.envs.demos.straying import states_of
from pvrbench.envs.initial_states import seeds_of
from pvrbench.envs.pictures.geometry import ROBOT, STATIC, Geometry, GeometryEnv
from pvrbench.envs.spec import TaskSpec, View

# An object that covers fewer pixels than this is not seen well enough to be asked for.
FEWEST_PIXELS = 9
# Control steps between the states of which instants are chosen.
STRIDE = 2


@dataclass(frozen=True, slots=True)
class Place:
    """An instant of an episode.

    Attributes:
        seed: reset seed of the episode.
        state: the simulator's state.
    """

    seed: int
    state: Array


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and what it shows.

    Attributes:
        image: the picture.
        geometry: what it shows.
    """

    image: UInt8[Array, "H W 3"]
    geometry: Geometry


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of one scene with corresponding points on the surfaces of things that can move.

    Attributes:
        kind: what changes: `camera`, `later` or `look`.
        source: the first picture.
        target: the second one.
        points: places in the first picture, pixels.
        counterparts: places of the same surface points in the second picture, pixels.
        owners: `ROBOT`, or the number of the object that each point is on.
        boxes: longer side of the box that encloses what is seen of the owner in the second picture, pixels.
    """

    kind: str
    source: Shot
    target: Shot
    points: Float[Array, "K 2"]
    counterparts: Float[Array, "K 2"]
    owners: Int[Array, " K"]
    boxes: Float[Array, " K"]


def expert_places(task: Task, num_episodes: int, num_instants: int) -> list[list[Place]]:
    """Instants of episodes of the expert, evenly spread from the first to the last; initial states of `selection`."""
    env = task.make_env(None)
    try:
        found: list[list[Place]] = []
        for seed in seeds_of("selection", num_episodes):
            states = states_of(task, env, seed, 0.0, STRIDE)
            chosen: list[int] = np.linspace(0, len(states) - 1, num_instants).round().astype(int).tolist()
            found.append([Place(seed, states[index]) for index in chosen])
        return found
    finally:
        env.close()


def take(task: Task, view: View, episodes: Sequence[Sequence[Place]]) -> list[list[Shot]]:
    """Pictures of instants, and what they show.

    Raises:
        ProbeError: the simulator does not say what pictures show.
    """
    env = task.make_env(view)
    try:
        if not isinstance(env, GeometryEnv):
            raise ProbeError(
                f"The environment of {task.spec.name} does not say what its pictures show; it lacks `geometry()` "
                "(pvrbench.envs.pictures.geometry.GeometryEnv). Ask for probes that need no geometry."
            )
        found: list[list[Shot]] = []
        for places in episodes:
            env.reset(places[0].seed)
            shots: list[Shot] = []
            for place in places:
                env.set_state(place.state)
                shots.append(Shot(env.observe()["image"], env.geometry()))
            found.append(shots)
        return found
    finally:
        env.close()


def shots_of(subject: Subject, num_episodes: int, num_instants: int) -> list[list[Shot]]:
    """Pictures of the run's view of the task, the same for all encoders; episodes of instants.

    Raises:
        ProbeError: the simulator does not say what pictures show, nothing in the scene can move, or the camera sees
            no object.
    """
    key = (num_episodes, num_instants)
    places = _places(subject, *key)
    shots = subject.shared(("shots", subject.view, *key), lambda: take(subject.task, subject.view, places))
    check_objects(subject.task.spec, subject.view, _flat(shots))
    return shots


def check_objects(spec: TaskSpec, view: View, shots: Sequence[Shot]) -> None:
    """Refuses pictures without an object to look for.

    Args:
        spec: the task.
        view: how the pictures were made.
        shots: the pictures.

    Raises:
        ProbeError: nothing in the scene can move but the robot, or no picture shows what can.
    """
    if not {int(kind) for kind in shots[0].geometry.kinds} - {STATIC, ROBOT}:
        raise ProbeError(f"{spec.name} has no object that can move, so there is nothing to look for.")
    if not any(_sees_object(shot.geometry) for shot in shots):
        raise ProbeError(
            f"The camera {view.camera} of {spec.name} sees no object that can move in any of {len(shots)} pictures. "
            f"Choose another one of {', '.join(spec.cameras)} with cameras=[...], or larger pictures with image_px=..."
        )


def pairs_of(
    subject: Subject, num_episodes: int, num_instants: int, num_points: int, looks: Sequence[str]
) -> tuple[Pair, ...]:
    """Pairs of pictures in which camera, instant or look differ; the same for all encoders.

    Args:
        subject: for its task and view.
        num_episodes: episodes of the expert.
        num_instants: instants of each.
        num_points: points in a pair on objects, and as many on the robot; fewer where fewer are seen twice.
        looks: other looks, taken in turn.

    Raises:
        ProbeError: see `shots_of`.
    """
    key = (num_episodes, num_instants)
    shots = shots_of(subject, *key)
    return subject.shared(
        ("pairs", subject.view, *key, num_points, *looks),
        lambda: tuple(_pairs(subject, shots, _places(subject, *key), num_points, looks)),
    )


def _places(subject: Subject, num_episodes: int, num_instants: int) -> list[list[Place]]:
    return subject.shared(
        ("places", num_episodes, num_instants), lambda: expert_places(subject.task, num_episodes, num_instants)
    )


def _pairs(
    subject: Subject,
    shots: Sequence[Sequence[Shot]],
    places: Sequence[Sequence[Place]],
    num_points: int,
    looks: Sequence[str],
) -> list[Pair]:
    rng = np.random.default_rng(0)
    found: list[Pair | None] = []
    own_size = _object_size([make_pair("camera", shot, shot, num_points, rng) for shot in _flat(shots)])
    # The first other camera that shows the objects at least half as large as the run's camera does.
    for camera in subject.task.spec.cameras:
        if camera != subject.view.camera:
            others = take(subject.task, replace(subject.view, camera=camera), places)
            seen = [
                make_pair("camera", here, there, num_points, rng)
                for here, there in zip(_flat(shots), _flat(others), strict=True)
            ]
            if _object_size(seen) >= 0.5 * own_size:
                found += seen
                break
    for part in shots:
        found += [make_pair("later", now, then, num_points, rng) for now, then in pairwise(part)]
    for number, look in enumerate(looks):
        chosen = slice(number, None, len(looks))
        others = take(subject.task, replace(subject.view, look=look), places[chosen])
        found += [
            make_pair("look", here, there, num_points, rng)
            for here, there in zip(_flat(shots[chosen]), _flat(others), strict=True)
        ]
    return [pair for pair in found if pair is not None]


def make_pair(kind: str, source: Shot, target: Shot, num_points: int, rng: np.random.Generator) -> Pair | None:
    """Draws points that both pictures show; None where there are none.

    Points of `later` pairs have moved by more than a tenth of the owner's box, so that staying is no answer.
    """
    chosen: list[tuple[Array, Array, Array, Array]] = []
    seen = source.geometry.seen
    for group in (seen == ROBOT, (seen != ROBOT) & (seen != STATIC)):
        y, x = np.nonzero(group)
        pixels = np.stack([x, y], axis=1)
        owners = seen[y, x]
        boxes = _boxes(target.geometry, owners)
        counterparts, is_seen = target.geometry.locate(*source.geometry.surface(pixels))
        is_seen &= boxes > 0
        if kind == "later":
            is_seen &= np.linalg.norm(counterparts - (pixels + 0.5), axis=1) > 0.1 * boxes
        rows = np.flatnonzero(is_seen)
        rows = rng.choice(rows, min(num_points, len(rows)), replace=False)
        chosen.append((pixels[rows] + 0.5, counterparts[rows], owners[rows], boxes[rows]))
    points, counterparts, owners, boxes = (np.concatenate(part) for part in zip(*chosen, strict=True))
    return Pair(kind, source, target, points, counterparts, owners, boxes) if len(points) else None


def _boxes(geometry: Geometry, owners: Array) -> Float[Array, " K"]:
    """Longer side of the box about what is seen of each owner, pixels; 0 where too little is seen."""
    seen, boxes = geometry.seen, np.zeros(len(owners))
    for owner in np.unique(owners):
        y, x = np.nonzero(seen == owner)
        if len(y) >= FEWEST_PIXELS:
            boxes[owners == owner] = max(np.ptp(x), np.ptp(y)) + 1
    return boxes


def _object_size(pairs: Sequence[Pair | None]) -> float:
    """Mean side of the boxes about objects, pixels; pairs without points on objects count as 0."""
    boxes = [pair.boxes[pair.owners != ROBOT] for pair in pairs if pair is not None]
    return float(sum(box.mean() for box in boxes if len(box))) / max(len(pairs), 1)


def _sees_object(geometry: Geometry) -> bool:
    return int(np.sum((geometry.seen != ROBOT) & (geometry.seen != STATIC))) >= FEWEST_PIXELS


def _flat(shots: Sequence[Sequence[Shot]]) -> list[Shot]:
    return [shot for part in shots for shot in part]

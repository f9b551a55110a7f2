"""Where overrides leave the protocol of their preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pvrbench.benchmark.config import AXES, BenchmarkConfig
from pvrbench.benchmark.records.schema import Deviation
from pvrbench.envs.catalog import TASK_SETS

# Overrides of these are other protocols; of the axes, other choices among its cells. The rest changes no number.
PROTOCOL_KEYS = (
    *(
        "render",
        "image_px",
        "preprocessing",
        "split",
        "num_episodes",
        "horizon",
        "success_rule",
        "demo_pool",
        "demo_end",
        "train_looks",
    ),
    *("history", "fusion", "budget_dim", "head_options", "adaptation_options", "train", "engine.precision"),
)


def departures(preset: BenchmarkConfig, given: BenchmarkConfig) -> tuple[Deviation, ...]:
    """Where overrides leave the protocol of their preset: settings that differ, and tasks, heads, ... that it lacks.

    Fewer tasks, heads, seeds or demonstrations than the preset's, and other encoders, leave every cell what it is.
    """
    found: list[Deviation] = []
    before, after = _flat(preset), _flat(given)
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            # More or fewer episodes make an interval narrower or wider about the same rate.
            effect = "none" if key == "num_episodes" else "unknown"
            here, there = (str(values.get(key, "the head's own")) for values in (after, before))
            found.append(Deviation(of=key, here=here, original=there, effect=effect, override=True))
    for axis in AXES:
        own = _expanded(getattr(preset, axis))
        further = [name for name in _expanded(getattr(given, axis)) if name not in own]
        if further:
            text_of = given.head_text if axis == "heads" else str
            here, there = ", ".join(text_of(name) for name in further), ", ".join(own)
            found.append(Deviation(of=axis, here=here, original=there, effect="unknown", override=True))
    return tuple(found)


def _flat(config: BenchmarkConfig) -> dict[str, object]:
    """The protocol's settings by key, those of groups as `group.key`."""
    flat: dict[str, object] = {}
    values = config.model_dump()
    for key in PROTOCOL_KEYS:
        group, _, name = key.rpartition(".")
        value = (values[group] if group else values)[name]
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, object]", value)
            flat |= {f"{key}.{name}": each for name, each in inner.items()}
        else:
            flat[key] = value
    return flat


def _expanded(names: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(member for name in names for member in TASK_SETS.get(name, (name,))))

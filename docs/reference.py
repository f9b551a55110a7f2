"""Writes the reference pages of the site from the catalogs, the presets, the configuration and the command line.

Nothing here is written by hand twice: a row that is added to a catalog appears on its page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pvrbench.benchmark.commands.catalogs import CATALOGS
from pvrbench.benchmark.commands.help import default_text, help_of, kind_text, settings_of
from pvrbench.benchmark.commands.verbs import VERBS
from pvrbench.benchmark.composition import compose_config, preset_names
from pvrbench.encoders.rows.parity import PARITY, Parity, parity_of, statement
from pvrbench.encoders.rows.zoo import ZOO_ENCODERS
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.envs.spec import LookSpec

PICTURES = Path(__file__).parent / "figures" / "tasks"
PARITY_MARKS = ("<!-- table: written by `python docs/reference.py` -->", "<!-- end of table -->")

# What each page says above its table.
INTRODUCTIONS: Mapping[str, str] = {
    "encoders": (
        "Encoders that can be named in `encoders=[...]`. `pvrbench weights list` says which weights are on this "
        "machine. Tokens are given as prefix + patches. Where published weights were never opened, the comparison "
        "with the official code is one of random weights. See [Encoders](../encoders.md) for weights, checkpoints and "
        "encoders of your own, and [Parity](../parity.md) for how the comparison was made."
    ),
    "tasks": (
        "Tasks that can be named in `tasks=[...]`. See [Tasks](../tasks.md) for initial states, experts and rendering."
    ),
    "heads": "Behaviour-cloning heads that can be named in `heads=[...]`. See [Heads](../heads.md) for a comparison.",
    "readouts": "Readouts that can be named in `readouts=[...]`. See [Readouts](../readouts.md) for details.",
    "adaptations": "What happens to an encoder besides being read, for `adaptations=[...]`.",
    "text_encoders": "How instructions become vectors, for `text_encoders=[...]`. See [Language](../language.md).",
    "probes": (
        "What `pvrbench probe` measures, for `probes=[...]`; options are set as `probe_options.<probe>.<option>=...`. "
        "See [Probes](../probes.md) for the protocols."
    ),
    "looks": (
        "How the scene looks in the rollouts, for `looks=[...]`; write the level as `light/darker@2`. "
        "See [Changed looks](../looks.md) for the protocol."
    ),
    "schedules": "Which episodes of a cell are run, for `episode_schedule=...`.",
    "executors": "Where jobs run, for `engine.executor=...`.",
}


def _tokens(spec: EncoderSpec) -> str:
    if not spec.grid_side:
        return ""
    patches = spec.grid_side**2
    return f"{spec.num_prefix_tokens} + {patches}" if spec.num_prefix_tokens else str(patches)


def _levels(spec: LookSpec) -> str:
    if spec.members:
        return "those of " + ", ".join(spec.members)
    return "; ".join(f"{name} {', '.join(f'{value:g}' for value in values)}" for name, values in spec.options.items())


def _parity(spec: EncoderSpec) -> str:
    if spec.weights is None and not spec.parts:
        return ""
    entry = parity_of(spec)
    if entry is not None:
        return statement(entry, spec.name)
    return "trained here" if spec.name in ZOO_ENCODERS else "not compared"


def _opened(spec: EncoderSpec) -> str:
    if spec.weights is None and not spec.parts:
        return ""
    entry = parity_of(spec)
    return "opened" if spec.name in ZOO_ENCODERS or (entry is not None and entry.is_opened) else "never opened"


Column = tuple[str, Callable[[Any], object]]
COLUMNS: Mapping[str, Sequence[Column]] = {
    "encoders": (
        ("objective", lambda spec: spec.objective),
        ("pretraining data", lambda spec: spec.pretraining_data),
        ("outputs", lambda spec: ", ".join(spec.outputs)),
        ("tokens", _tokens),
        ("pixels", lambda spec: spec.image_size or ""),
        ("width", lambda spec: spec.feature_dim),
        (
            "grid",
            lambda spec: (
                f"{spec.grid_side}\N{NO-BREAK SPACE}x\N{NO-BREAK SPACE}{spec.grid_side}" if spec.grid_side else ""
            ),
        ),
        ("parameters", lambda spec: f"{spec.num_params / 1e6:.1f} M" if spec.num_params else ""),
        ("licence", lambda spec: f"{spec.licence}{' (non-commercial)' if spec.non_commercial else ''}"),
        ("source", lambda spec: spec.paper),
        ("compared with the official code: greatest difference", _parity),
        ("published weights", _opened),
    ),
    "tasks": (
        ("description", lambda spec: spec.description),
        ("horizon", lambda spec: spec.horizon),
        ("action", lambda spec: spec.action_dim),
        ("proprioception", lambda spec: spec.proprio_dim),
        ("state", lambda spec: spec.state_dim),
        ("cameras", lambda spec: ", ".join(spec.cameras)),
        ("oracle / proprioception / expert, %", lambda spec: spec.measured or ""),
    ),
    "heads": (
        ("description", lambda spec: spec.description),
        ("options", lambda spec: _options(spec.options)),
        ("source", lambda spec: spec.paper),
    ),
    "readouts": (
        ("description", lambda spec: spec.description),
        ("reads", lambda spec: ", ".join(spec.reads)),
        ("trained", lambda spec: "yes" if spec.trainable else "no"),
        ("options", lambda spec: _options(spec.options)),
        ("source", lambda spec: spec.paper),
    ),
    "text_encoders": (
        ("description", lambda spec: spec.description),
        ("width", lambda spec: spec.dim or "number of tasks"),
        ("licence", lambda spec: spec.licence),
        ("source", lambda spec: spec.paper),
    ),
    "probes": (
        ("description", lambda spec: spec.description),
        ("needs", lambda spec: spec.needs),
        ("options", lambda spec: _options(spec.options)),
        ("source", lambda spec: spec.paper),
    ),
    "looks": (
        ("description", lambda spec: spec.description),
        ("by level", _levels),
        ("changes", lambda spec: ", ".join(spec.needs)),
    ),
}
DEFAULT_COLUMNS: Sequence[Column] = (("description", lambda spec: spec.description),)
EFFECTS = {"higher": "higher", "lower": "lower", "none": "the same", "unknown": "not known"}
# What docs/presets.md says above its first table.
PRESETS = """\
A preset is a protocol: a set of values for all settings. `pvrbench run preset=<name>` uses it, and `key=value` changes
a setting.

- **Default.** Without `preset=` a run has the preset `standard`.
- **Name.** Without `name=` a run has the name of its preset, and is written to `results/runs/<preset>`.
- **Split.** Without `split=` initial states are those of `test`.
- **Encoders.** Give your own, `encoders=[...]`. `baselines` are run beside them.

The table shows the settings in which presets differ. All others have the same value in every preset; `pvrbench list
settings` shows them. `metaworld5` stands for the five tasks of Meta-World in the R3M evaluation: assembly,
bin-picking, button-press-topdown, drawer-open and hammer. `pvrbench list presets --json` prints the same for
programs, and `pvrbench plan preset=<name>` says what a preset costs on your machine."""
# Settings that are shown for a preset: what is a matter of the protocol.
NOT_OF_A_PROTOCOL = {"name", "run_dir", "engine", "deviations", "preset"}


def write_reference(folder: Path) -> None:
    """Writes one page for each catalog, and the pages of settings and commands.

    Args:
        folder: where the pages go; a page whose text is unchanged is not touched.
    """
    pages = {kind: catalog_page(kind) for kind in CATALOGS}
    pages |= {"settings": settings_page(), "commands": commands_page()}
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def catalog_page(kind: str) -> str:
    """The page of one catalog: a table with a row for each name."""
    specs, _ = CATALOGS[kind]().usable()
    columns = COLUMNS.get(kind, DEFAULT_COLUMNS)
    if kind == "tasks":
        columns = (("picture", _picture), *columns)
    rows = [[f"`{name}`", *(read(spec) for _, read in columns)] for name, spec in specs.items()]
    title = kind.replace("_", " ").capitalize()
    return _page(title, INTRODUCTIONS.get(kind, ""), _table([kind[:-1], *(name for name, _ in columns)], rows))


def parity_table() -> str:
    """The table of docs/parity.md: every comparison with official code, and what was not compared, with the reason."""
    rows: list[list[str]] = []
    for entry in PARITY:
        values = [f"{value:.1e}" if value else "0" if value == 0 else "" for value in _differences(entry)]
        official = entry.official or f"not compared: {entry.reason}"
        rows.append([_names(entry.rows), official, *values, _names(entry.other_sizes)])
    return _table(["rows", "compared with", "class token", "grid", "pooled", "other sizes, not compared"], rows)


def _names(rows: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in rows)


def _differences(entry: Parity) -> tuple[float | None, ...]:
    return entry.class_token, entry.grid, entry.pooled


def presets_page() -> str:
    """docs/presets.md: every preset, its settings where presets differ, and its deviations from the original.

    The page is committed, because a reader of the repository needs it as much as a reader of the site.
    """
    sections = ["<!-- written by `python docs/reference.py` -->", PRESETS]
    composed = ((name, compose_config([f"preset={name}"])) for name in preset_names())
    # The project's own protocols come first.
    configs = dict(sorted(composed, key=lambda item: bool(item[1].deviations)))
    values = {
        name: _flat(config.model_dump(mode="json", exclude=NOT_OF_A_PROTOCOL)) for name, config in configs.items()
    }
    keys = list(dict.fromkeys(key for flat in values.values() for key in flat))
    differing = [key for key in keys if len({repr(flat.get(key)) for flat in values.values()}) > 1]
    rows = [[f"`{key}`", *(_value(flat.get(key)) for flat in values.values())] for key in differing]
    sections.append(_table(["setting", *(f"`{name}`" for name in values)], rows))
    for name, config in configs.items():
        sections.append(f"## `{name}`")
        if not config.deviations:
            sections.append("A protocol of this project. There is no original, so there are no deviations.")
            continue
        sections.append(
            _table(
                ["what", "here", "original", "rates here are", "by how much"],
                [[item.of, item.here, item.original, EFFECTS[item.effect], item.size] for item in config.deviations],
            )
        )
    return _page("Presets", *sections)


def settings_page() -> str:
    """Every setting of every verb with its type, default and meaning."""
    parts = [
        (
            "Settings are given as `key=value`, nested ones as `engine.device=cuda`. Defaults of a run are those of "
            "the preset `standard`."
        )
    ]
    for verb in VERBS.values():
        rows = settings_of(verb)
        if rows and verb.name != "plan":
            title = "run, plan" if verb.name == "run" else verb.name
            lines = [[f"`{row.path}`", kind_text(row), f"`{default_text(row)}`", row.meaning] for row in rows]
            parts += [f"## {title}", _table(["key", "type", "default", "meaning"], lines)]
    return _page("Settings", *parts)


def commands_page() -> str:
    """The help text of every verb."""
    texts = [f"## `pvrbench {verb.name}`\n\n```text\n{help_of(verb).strip()}\n```" for verb in VERBS.values()]
    return _page("Commands", "Every command prints this with `--help`.", *texts)


def _picture(spec: Any) -> str:
    file = PICTURES / f"{spec.name.replace('/', '-')}.webp"
    return f"![{spec.name}](../figures/tasks/{file.name})" if file.exists() else ""


def _options(options: object) -> str:
    values = dict(options) if isinstance(options, Mapping) else getattr(options, "__dict__", {})
    return ", ".join(f"`{key}={_plain(value)}`" for key, value in values.items())


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _value(value: object) -> str:
    return f"`{_plain(value)}`" if _plain(value) else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _escaped(cell: object) -> str:
    return " ".join(str(cell).split()).replace("|", "\\|")


def _page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", *(part for part in parts if part))) + "\n"


def write_parity(page: Path) -> None:
    """Puts the table of comparisons between its two marks on a page."""
    before, _, rest = page.read_text().partition(PARITY_MARKS[0])
    after = rest.partition(PARITY_MARKS[1])[2]
    page.write_text(f"{before}{PARITY_MARKS[0]}\n\n{parity_table()}\n\n{PARITY_MARKS[1]}{after}")


if __name__ == "__main__":
    write_parity(Path(__file__).parent / "parity.md")
    (Path(__file__).parent / "presets.md").write_text(presets_page())

"""Styles of contenders, in print and on the page: colour, marker and dash, distinct for colour-blind readers too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pvrbench.benchmark.analysis.statistics import Analysis, Contender

# Okabe and Ito's colours; references are grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
GREY = "#777777"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PLOTLY_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
GLYPHS = "●■▲◆▼✚✖★"
_DASHES: Mapping[str, str] = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_REFERENCE_DASHES: Mapping[str, str] = {"expert": "-", "oracle": "--", "proprio": ":"}


@dataclass(frozen=True, slots=True)
class Style:
    """Colour, marker and dash of one contender, in matplotlib's names."""

    colour: str
    marker: str
    dash: str

    @property
    def glyph(self) -> str:
        """The marker as a character."""
        return GLYPHS[MARKERS.index(self.marker)] if self.marker in MARKERS else "•"

    @property
    def plotly_symbol(self) -> str:
        """The marker in Plotly's names."""
        return PLOTLY_SYMBOLS[MARKERS.index(self.marker)] if self.marker in MARKERS else "circle-open"

    @property
    def plotly_dash(self) -> str:
        """The dash in Plotly's names."""
        return _DASHES[self.dash]


def _style(position: int) -> Style:
    """Each round through the colours pairs them with other markers, so that 64 contenders look different."""
    turn, index = divmod(position, len(COLOURS))
    return Style(COLOURS[index], MARKERS[(index + turn) % len(MARKERS)], "--" if turn % 2 else "-")


def styles_of(analysis: Analysis) -> dict[Contender, Style]:
    """A style for every contender, in the order of the ranking; those without a rank follow."""
    ordered = [item.contender for item in analysis.ranking]
    ordered += sorted({point.contender for point in analysis.points} - set(ordered))
    styles: dict[Contender, Style] = {}
    competing = 0
    for who in ordered:
        if who.is_reference:
            styles[who] = Style(GREY, ".", _REFERENCE_DASHES[who.encoder])
        else:
            styles[who] = _style(competing)
            competing += 1
    return styles


def labels_of(contenders: Iterable[Contender]) -> dict[Contender, str]:
    """What contenders are called side by side: the head is named where it differs."""
    everyone = list(contenders)
    several_heads = len({who.head for who in everyone}) > 1
    return {who: f"{who.label} ({who.head})" if several_heads else who.label for who in everyone}

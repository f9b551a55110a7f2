"""Sequential evaluation: which comparisons are decided after which states. No torch, no simulator.

All contenders are evaluated on the same states in the same order, round by round. A pair is decided when its e-value,
adjusted for all pairs that are not decided yet, reaches 1 / alpha. A contender ends when each of its pairs is decided
or given up. Everything here is a function of the outcomes: the schedule of a run and the report of its records come to
the same decisions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Generic, TypeVar

import numpy as np

from pvrbench.benchmark.analysis.anytime import (
    adjusted,
    confidence_sequence,
    could_still_be_decided,
    largest_adjusted,
    log_e_process,
)
from pvrbench.benchmark.analysis.cube import Contender
from pvrbench.benchmark.analysis.estimates import LEVEL, Interval, log_weights
from pvrbench.benchmark.analysis.layout import Array
from pvrbench.benchmark.records.keys import Cell
from pvrbench.benchmark.records.schema import Episode

SEQUENTIAL = "sequential"
ALPHA = 1 - LEVEL

# One permutation for everybody: pairing needs the same states in the same order.
ORDER_SEED = 20261125

# A run has about this many rounds of at least this many states: each round starts simulators again.
NUM_ROUNDS, FEWEST_A_ROUND = 10, 20

# Below this number of planned states the test finds much less than that of the fixed design.
FEWEST_STATES = 100

CLAIM = (
    "Sequential evaluation: ranks, p-values and intervals are about these trained policies ({seeds} of each contender "
    "for each task and N) on initial states like these. At most 5 % of such runs contain a false difference, whenever "
    "they are stopped or looked at. Nothing is said about other training seeds, however many episodes there are: for "
    "encoders over training seeds use episode_schedule=fixed. The estimates of contenders that ended early lie a "
    "little too far from those of the others on average."
)

K = TypeVar("K", bound=Hashable)


def state_order(num_planned: int) -> tuple[int, ...]:
    """Positions of the planned initial states in the order in which all contenders are evaluated on them."""
    return tuple(int(index) for index in np.random.default_rng(ORDER_SEED).permutation(num_planned))


def round_ends(num_planned: int) -> tuple[int, ...]:
    """Numbers of states after which rounds end; the last one is that of the planned states."""
    step = max(FEWEST_A_ROUND, math.ceil(num_planned / NUM_ROUNDS))
    return (*range(step, num_planned, step), num_planned)


@dataclass(frozen=True, slots=True)
class Member:
    """A contender of one family: all that are compared with one another.

    Attributes:
        cells: all of its policies in all places.
        is_compared: whether it has pairs; references and contenders without some cell have none.
    """

    cells: tuple[Cell, ...]
    is_compared: bool


def families(cells: Collection[Cell]) -> list[dict[Contender, Member]]:
    """The contenders of each look and instruction, with their cells.

    Args:
        cells: all cells that can be evaluated.
    """
    grouped: dict[tuple[str, str], dict[Contender, list[Cell]]] = {}
    for cell in cells:
        who = Contender(cell.encoder, cell.readout, cell.head, cell.adaptation)
        grouped.setdefault((cell.look, cell.instruction), {}).setdefault(who, []).append(cell)
    found: list[dict[Contender, Member]] = []
    for members in grouped.values():
        places = {_place(cell) for own in members.values() for cell in own}
        whole = {who for who, own in members.items() if {_place(cell) for cell in own} == places}
        compared = {who for who in whole if not who.is_reference}
        found.append(
            {who: Member(tuple(members[who]), len(compared) > 1 and who in compared) for who in sorted(members)}
        )
    return found


def _place(cell: Cell) -> tuple[object, ...]:
    return (cell.task, cell.camera, cell.num_demos, cell.seed)


def state_scores(member: Member, outcomes: Mapping[Cell, Sequence[Episode]], order: Sequence[int]) -> Array:
    """The score of a contender on each state, `states` in 0..1, up to the first that not all of its policies have seen.

    It is the score of the ranking with one state for all: mean over tasks and training seeds, weighted over N. The same
    state seen by three seeds is one number, not three.

    Args:
        member: the contender.
        outcomes: episodes by cell.
        order: positions of the states in the order of evaluation.
    """
    solved = [{episode.index: episode.success for episode in outcomes[cell]} for cell in member.cells]
    numbers = sorted({cell.num_demos for cell in member.cells})
    weight_of = dict(zip(numbers, log_weights(numbers), strict=True))
    sizes = {number: sum(cell.num_demos == number for cell in member.cells) for number in numbers}
    weights = np.array([weight_of[cell.num_demos] / sizes[cell.num_demos] for cell in member.cells])
    scores: list[float] = []
    for index in order:
        if not all(index in found for found in solved):
            break
        scores.append(float(weights @ [found[index] for found in solved]))
    return np.clip(np.array(scores), 0, 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """Two contenders that are significantly different.

    Attributes:
        states: after how many states it was known.
        e_value: adjusted for all pairs that were not decided before.
    """

    states: int
    e_value: float


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a contender gets no more episodes.

    Attributes:
        states: how many it has.
        decided: pairs of it that are decided.
        given_up: pairs that the states left could not be expected to decide.
    """

    states: int
    decided: int
    given_up: int


@dataclass(frozen=True, slots=True)
class Replay(Generic[K]):
    """What follows from the scores of some contenders.

    Attributes:
        decisions: by pair of contenders.
        open_e_values: adjusted e-values of all other pairs, at the end.
        endings: contenders that get no more states.
        next_end: number of states that all others are to be evaluated on next; None where there are no others.
    """

    decisions: Mapping[tuple[K, K], Decision]
    open_e_values: Mapping[tuple[K, K], float]
    endings: Mapping[K, Ending]
    next_end: int | None


class _Game(Generic[K]):
    """The state of a replay."""

    def __init__(self, scores: Mapping[K, Array], num_planned: int, ended: Collection[K], alpha: float) -> None:
        self.scores, self.num_planned, self.ended, self.alpha = scores, num_planned, ended, alpha
        self.pairs = list(combinations(scores, 2))
        self.undecided = list(range(len(self.pairs)))
        self.decisions: dict[tuple[K, K], Decision] = {}
        self.endings: dict[K, Ending] = {}
        self.differences: dict[tuple[K, K], Array] = {}
        # After its last state a pair keeps its e-value.
        self.log_e = np.zeros((len(self.pairs), num_planned))
        for row, (one, other) in enumerate(self.pairs):
            both = min(len(scores[one]), len(scores[other]))
            difference = scores[one][:both] - scores[other][:both]
            self.differences[one, other] = difference
            if both:
                found = log_e_process(difference)
                self.log_e[row, :both], self.log_e[row, both:] = found, found[-1]

    def decide(self, states: int) -> None:
        """Decides pairs after some number of states, the most certain one first."""
        values = self.log_e[self.undecided, states - 1]
        # No e-value is larger when it is adjusted.
        while len(values) and values.max() >= -math.log(self.alpha):
            adjusted_value = largest_adjusted(values)
            if adjusted_value < 1 / self.alpha:
                break
            index = int(values.argmax())
            self.decisions[self.pairs[self.undecided.pop(index)]] = Decision(states, adjusted_value)
            values = np.delete(values, index)

    def end_contenders(self, states: int) -> None:
        """Ends the contenders whose pairs are all decided or given up, and those that have all states."""
        undecided = [self.pairs[row] for row in self.undecided]
        given_up = {pair for pair in undecided if self._is_given_up(pair, states)}
        ending: dict[K, Ending] = {}
        for who in self.scores:
            if who in self.endings:
                continue
            waits = any(who in pair for pair in undecided if pair not in given_up)
            if not waits or states == self.num_planned or (who in self.ended and len(self.scores[who]) <= states):
                decided = sum(who in pair for pair in self.decisions)
                hopeless = sum(who in pair for pair in given_up)
                ending[who] = Ending(min(states, len(self.scores[who])), decided, hopeless)
        self.endings |= ending
        for row, pair in enumerate(self.pairs):
            if any(who in ending for who in pair):
                self.log_e[row, states:] = self.log_e[row, states - 1]

    def _is_given_up(self, pair: tuple[K, K], states: int) -> bool:
        differences = self.differences[pair]
        if len(differences) < states or any(who in self.endings for who in pair):
            return True
        if all(who in self.ended for who in pair):
            return False  # they have what they have
        return not could_still_be_decided(
            differences[:states], self.num_planned - states, self.alpha / len(self.undecided)
        )


def replay(scores: Mapping[K, Array], num_planned: int, ended: Collection[K] = (), alpha: float = ALPHA) -> Replay[K]:
    """Goes through the rounds of a family, as far as the scores go.

    Args:
        scores: of each contender on each state, in the order of evaluation; see `state_scores`.
        num_planned: planned states.
        ended: contenders that get no more states, whatever they have.
        alpha: probability of one false decision or more, at any time.
    """
    game = _Game(scores, num_planned, ended, alpha)
    next_end, reached = None, num_planned
    for start, end in pairwise((0, *round_ends(num_planned))):
        if any(len(scores[who]) < end for who in scores if who not in game.endings and who not in ended):
            next_end, reached = end, start
            break
        for states in range(start + 1, end + 1):
            game.decide(states)
        game.end_contenders(end)
        if len(game.endings) == len(scores):
            break
    left = adjusted(game.log_e[game.undecided, reached - 1]) if reached else [1.0] * len(game.undecided)
    return Replay(
        decisions=game.decisions,
        open_e_values={game.pairs[row]: value for row, value in zip(game.undecided, left, strict=True)},
        endings=game.endings,
        next_end=next_end,
    )


@dataclass(frozen=True, slots=True)
class SequentialPair:
    """Two contenders on the states that both have, at any stopping time.

    Attributes:
        difference: of their mean scores, with its confidence sequence.
        p_value: one over the largest wealth so far; valid at any time.
        adjusted_p_value: one over the adjusted e-value when the pair was decided, or at the end.
    """

    difference: Interval
    p_value: float
    adjusted_p_value: float


def compare_pairs(scores: Mapping[K, Array], num_planned: int) -> dict[tuple[K, K], SequentialPair]:
    """All pairs of a family, as far as it was evaluated; see `replay`."""
    found = replay(scores, num_planned, ended=scores)
    pairs: dict[tuple[K, K], SequentialPair] = {}
    for first, second in combinations(scores, 2):
        both = min(len(scores[first]), len(scores[second]))
        differences = scores[first][:both] - scores[second][:both]
        decision = found.decisions.get((first, second))
        e_value = found.open_e_values[first, second] if decision is None else decision.e_value
        pairs[first, second] = SequentialPair(
            difference=confidence_sequence(differences, -1.0, 1.0),
            p_value=float(np.exp(-max(0.0, *log_e_process(differences)))),
            adjusted_p_value=min(1.0, 1 / e_value),
        )
    return pairs


def ending_text(ending: Ending, num_planned: int) -> str:
    """Why the evaluation of a contender ended, as its records keep it; empty where it has all planned states."""
    if ending.states == num_planned:
        return ""
    return (
        f"sequential: all comparisons of this contender were settled after {ending.states} of {num_planned} states "
        f"({ending.decided} significantly different, {ending.given_up} given up because the states left could not be "
        "expected to decide them)"
    )

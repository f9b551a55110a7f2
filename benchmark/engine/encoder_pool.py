"""Encoders of a run: loaded, identified and measured once, and kept while memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from pvrbench.benchmark.config import EngineConfig
from pvrbench.benchmark.engine.features import TileEncoder
from pvrbench.benchmark.engine.hardware import available_mib
from pvrbench.benchmark.engine.processor import use_full_float32
from pvrbench.benchmark.records.keys import digest_of
from pvrbench.common.reference import resolve
from pvrbench.encoders.adaptation.base import TrainedAdaptation, load_adaptation
from pvrbench.encoders.adaptation.readout import AdaptedReadout
from pvrbench.encoders.adaptation.spec import AdaptationSpec
from pvrbench.encoders.base import Encoder
from pvrbench.encoders.cost import flops_per_frame, measure, num_params
from pvrbench.encoders.identity import EncoderIdentity, identify
from pvrbench.encoders.readouts.base import Readout, load_readout
from pvrbench.encoders.readouts.spec import ReadoutSpec
from pvrbench.encoders.spec import EncoderSpec
from pvrbench.encoders.weights.location import WeightsError, together

# Share of the free memory that encoders which are not in use may keep.
KEPT_SHARE = 0.25
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What an encoder costs.

    Attributes:
        num_params: of the frozen network.
        flops_per_frame: None where it reads no image.
        timing: time and memory; no two measurements agree, so they stand with the timings of a record.
    """

    num_params: int
    flops_per_frame: int | None
    timing: Mapping[str, float]


class EncoderPool:
    """The encoders of a run.

    Args:
        engine: device, tile and precision.
    """

    def __init__(self, engine: EngineConfig) -> None:
        self._engine = engine
        self._loaded: dict[str, Encoder] = {}
        self._identities: dict[tuple[str, int], EncoderIdentity] = {}
        self._facts: dict[str, EncoderFacts] = {}

    def load(self, spec: EncoderSpec) -> Encoder:
        """The encoder of a row, on the run's device.

        Raises:
            WeightsError: its weights cannot be had.
        """
        key = repr(spec)
        if key not in self._loaded:
            self._make_room(spec)
            self._loaded[key] = load_encoder(spec).to(self._engine.device)
        self._loaded[key] = self._loaded.pop(key)  # the last one is the one used last
        return self._loaded[key]

    def check_weights(self, specs: Iterable[EncoderSpec]) -> None:
        """Loads what has weights: hours into a run is no time to learn that a file is missing or does not fit.

        Raises:
            WeightsError: weights cannot be had; one line for all of them.
        """
        errors: list[WeightsError] = []
        for spec in specs:
            if spec.weights is not None or spec.parts:
                try:
                    self.load(spec)
                except WeightsError as error:
                    errors.append(error)
        if errors:
            raise together(errors)

    def identity(self, spec: EncoderSpec, image_px: int) -> EncoderIdentity:
        """What the encoder is by content, its features of a probe picture of the run's size included."""
        key = (repr(spec), image_px)
        if key not in self._identities:
            self._identities[key] = identify(self.load(spec), image_px)
        return self._identities[key]

    def tiles(self, spec: EncoderSpec, adaptation: AdaptationSpec, image_px: int, *, keep_raw: bool) -> TileEncoder:
        """The encoder as it is called in a run.

        Args:
            spec: the row.
            adaptation: what happens to the encoder before it is read.
            image_px: side of the run's pictures.
            keep_raw: whether readouts in use need the raw grid.
        """
        engine, adapted = self._engine, load_adaptation(adaptation)
        encoder = adapted.prepare(self.load(spec))
        # What is shared of an encoder that is trained may be less than it, and the same for several encoders.
        source = self.identity(spec, image_px).digest if adaptation.keeps_features else encoder.digest
        content = digest_of([source, adapted.digest])
        return TileEncoder(
            encoder, engine.device, engine.tile, content=content, keep_raw=keep_raw, precision=engine.precision
        )

    def readout(self, spec: EncoderSpec, adaptation: AdaptationSpec, readout: ReadoutSpec) -> Readout:
        """A readout as policies of a run have it: where the encoder is trained, its rest comes before the readout.

        Raises:
            AdaptationError: the encoder cannot be adapted in this way.
        """
        plain = load_readout(readout)
        if adaptation.keeps_features:
            return plain
        return AdaptedReadout(cast("TrainedAdaptation", load_adaptation(adaptation)), self.load(spec), plain)

    def facts(self, tiles: TileEncoder, image_px: int) -> EncoderFacts:
        """What the encoder costs; nothing else may use it, or should use the processor, while it is measured."""
        key = repr(tiles.encoder.spec)
        if key not in self._facts:
            with tiles.in_precision():
                cost = measure(tiles.encoder, tiles.tile, image_px)
            timing = (
                {}
                if cost is None
                else {
                    "encoder_ms_alone": cost.ms_alone,
                    "encoder_ms_in_tile": cost.ms_in_tile,
                    "encoder_peak_mib": cost.peak_bytes / 2**20,
                }
            )
            self._facts[key] = EncoderFacts(num_params(tiles.encoder), flops_per_frame(tiles.encoder, image_px), timing)
        return self._facts[key]

    def _make_room(self, spec: EncoderSpec) -> None:
        """Drops the encoders used longest ago until those that stay, and the new one, take little memory."""
        limit_mib = KEPT_SHARE * available_mib()

        def mib(row: EncoderSpec) -> float:
            return row.num_params * FLOAT_BYTES / 2**20

        while self._loaded and mib(spec) + sum(mib(encoder.spec) for encoder in self._loaded.values()) > limit_mib:
            self._loaded.pop(next(iter(self._loaded)))


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Loads an encoder with its weights; float32 is float32 from then on, whatever the encoder's code chose."""
    encoder = cast("Callable[[EncoderSpec], Encoder]", resolve(spec.entry_point))(spec)
    use_full_float32()
    return encoder

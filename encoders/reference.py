"""References to encoders of one's own, `module:attribute`, as specs; torch is imported only when one is resolved."""

from __future__ import annotations

import pkgutil

from encoders.spec import EncoderSpec


def spec_for(reference: str) -> EncoderSpec:
    """The spec of a `module:attribute` reference; the encoder is loaded once and asked for the shapes of its features.

    Raises:
        ValueError: the module or attribute cannot be imported, or what it returns is no features.
    """
    spec = EncoderSpec(
        name=reference,
        entry_point="encoders.custom:load",
        objective="your own",
        image_size=0,
        licence="yours",
        pretraining_data="unknown",
        options={"reference": reference},
    )
    # By name, since the module behind it imports torch and catalogs must stay light.
    return pkgutil.resolve_name("encoders.custom:describe")(spec)

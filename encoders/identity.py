"""TEMP"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderIdentity:
    weights: str
    preprocessing: str
    code: str
    probe: tuple[float, ...]
    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.weights,self.preprocessing,self.code,self.probe)).encode()).hexdigest()

def identify(encoder, image_px: int) -> EncoderIdentity:
    return EncoderIdentity(encoder.digest, "", "", ())

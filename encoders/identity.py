"""TEMP"""
from __future__ import annotations
from dataclasses import dataclass
import hashlib
import torch

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

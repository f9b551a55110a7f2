"""Makes the embedding of a prompt once, so that no text encoder is needed when images are encoded.

    python -m pvrbench.encoders.families.prompt stable-diffusion-v1-5/stable-diffusion-v1-5 empty_prompt.safetensors

Needs the package transformers, which nothing else here does.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly typed


@torch.no_grad()
def store_prompt(repo: str, path: Path, prompt: str = "") -> None:
    """Writes the last hidden state of a Stable Diffusion model's text encoder, `1 77 E`, and the token ids it saw.

    Args:
        repo: hub repository or local folder with `tokenizer` and `text_encoder`.
        path: safetensors file to write.
        prompt: the text; empty as in DIFT and SCR.
    """
    transformers = importlib.import_module("transformers")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(repo, subfolder="tokenizer")
    text_encoder = transformers.CLIPTextModel.from_pretrained(repo, subfolder="text_encoder").eval().float()
    tokens = tokenizer(
        prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    context = text_encoder(tokens.input_ids).last_hidden_state
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"context": context.contiguous(), "token_ids": tokens.input_ids}, path, metadata={"source": repo})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stores the embedding of a prompt for the diffusion encoders.")
    parser.add_argument("repo", help="hub repository or local folder, e.g. stable-diffusion-v1-5/stable-diffusion-v1-5")
    parser.add_argument(
        "path", type=Path, help="file to write, e.g. <weights>/stable-diffusion-v1-5/empty_prompt.safetensors"
    )
    parser.add_argument("--prompt", default="", help="the text; empty by default")
    given = parser.parse_args()
    store_prompt(given.repo, given.path, given.prompt)

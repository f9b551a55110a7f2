"""Where other tools leave the weights of a row on this machine, and the digests that are published. Plain data.

A place is `torch:<file>` in torch hub's folder of checkpoints, `home:<path>` under the home folder, or
`hf:<owner>/<repo>/<file>` in the Hugging Face hub's cache. The files hold the same weights as the row's own source,
often in another layout. OpenCLIP keeps files of its own in repositories of timm.

Source of the digests: openai/CLIP, `clip/clip.py`, whose addresses contain them.
"""

from __future__ import annotations

from collections.abc import Mapping


def _open_clip(repo: str) -> tuple[str, ...]:
    return tuple(f"hf:timm/{repo}/open_clip_{file}" for file in ("model.safetensors", "pytorch_model.bin"))


def _dinov3(name: str, digits: str) -> tuple[str, ...]:
    """Torch hub's name of a file ends with the first digits of its digest."""
    return (f"torch:dinov3_{name}_pretrain_lvd1689m-{digits}.pth",)


def _hub(*repos: str) -> tuple[str, ...]:
    return tuple(f"hf:{repo}/{file}" for repo in repos for file in ("model.safetensors", "pytorch_model.bin"))


PLACES: Mapping[str, tuple[str, ...]] = {
    "mae_vitb16": ("torch:mae_pretrain_vit_base.pth", *_hub("facebook/vit-mae-base")),
    "mae_vitl16": ("torch:mae_pretrain_vit_large.pth", *_hub("facebook/vit-mae-large")),
    "mae_vith14": ("torch:mae_pretrain_vit_huge.pth", *_hub("facebook/vit-mae-huge")),
    "deit_tiny16": ("torch:deit_tiny_patch16_224-a1311bcf.pth", *_hub("facebook/deit-tiny-patch16-224")),
    "deit_small16": ("torch:deit_small_patch16_224-cd65a155.pth", *_hub("facebook/deit-small-patch16-224")),
    "deit_base16": ("torch:deit_base_patch16_224-b5f2ef4d.pth", *_hub("facebook/deit-base-patch16-224")),
    "clip_vitb32": (
        "home:.cache/clip/ViT-B-32.pt",
        *_hub("openai/clip-vit-base-patch32"),
        *_open_clip("vit_base_patch32_clip_224.openai"),
    ),
    "clip_vitb16": (
        "home:.cache/clip/ViT-B-16.pt",
        *_hub("openai/clip-vit-base-patch16"),
        *_open_clip("vit_base_patch16_clip_224.openai"),
    ),
    "clip_vitl14": (
        "home:.cache/clip/ViT-L-14.pt",
        *_hub("openai/clip-vit-large-patch14"),
        *_open_clip("vit_large_patch14_clip_224.openai"),
    ),
    "clip_resnet50": ("home:.cache/clip/RN50.pt", *_open_clip("resnet50_clip.openai")),
    "siglip_vitb16": (*_hub("google/siglip-base-patch16-224"), *_open_clip("ViT-B-16-SigLIP")),
    "siglip2_vitb16": (*_hub("google/siglip2-base-patch16-224"), *_open_clip("ViT-B-16-SigLIP2")),
    "siglip2_vitl16_256": (*_hub("google/siglip2-large-patch16-256"), *_open_clip("ViT-L-16-SigLIP2-256")),
    "siglip2_so400m14": (*_hub("google/siglip2-so400m-patch14-224"), *_open_clip("ViT-SO400M-14-SigLIP2")),
    "dino_vits16": ("torch:dino_deitsmall16_pretrain.pth", *_hub("facebook/dino-vits16")),
    "dino_vitb16": ("torch:dino_vitbase16_pretrain.pth", *_hub("facebook/dino-vitb16")),
    "dino_vitb8": ("torch:dino_vitbase8_pretrain.pth", *_hub("facebook/dino-vitb8")),
    "dinov2_vits14": ("torch:dinov2_vits14_reg4_pretrain.pth", *_hub("facebook/dinov2-with-registers-small")),
    "dinov2_vitb14": ("torch:dinov2_vitb14_reg4_pretrain.pth", *_hub("facebook/dinov2-with-registers-base")),
    "dinov2_vitl14": ("torch:dinov2_vitl14_reg4_pretrain.pth", *_hub("facebook/dinov2-with-registers-large")),
    "dinov3_vits16": _dinov3("vits16", "08c60483"),
    "dinov3_vitb16": _dinov3("vitb16", "73cec8be"),
    "dinov3_vitl16": _dinov3("vitl16", "8aa4cbdd"),
    "dinov3_vits16plus": _dinov3("vits16plus", "4057cbaa"),
    "dinov3_vith16plus": _dinov3("vith16plus", "7c1da9a5"),
    "dinov3_convnext_tiny": _dinov3("convnext_tiny", "21b726bb"),
    "dinov3_convnext_base": _dinov3("convnext_base", "801f2ba9"),
    "pe_core_vitb16": ("hf:facebook/PE-Core-B16-224/PE-Core-B16-224.pt",),
    "pe_spatial_vitt16_512": ("hf:facebook/PE-Spatial-T16-512/PE-Spatial-T16-512.pt",),
    "pe_spatial_vits16_512": ("hf:facebook/PE-Spatial-S16-512/PE-Spatial-S16-512.pt",),
    "pe_spatial_vitb16_512": ("hf:facebook/PE-Spatial-B16-512/PE-Spatial-B16-512.pt",),
    "pe_spatial_vitl14_448": ("hf:facebook/PE-Spatial-L14-448/PE-Spatial-L14-448.pt",),
    "aimv2_vitl14": ("hf:apple/aimv2-large-patch14-224/model.safetensors",),
    "r3m_resnet18": ("home:.r3m/r3m_18/model.pt",),
    "r3m_resnet34": ("home:.r3m/r3m_34/model.pt",),
    "r3m_resnet50": ("home:.r3m/r3m_50/model.pt",),
    "vip_resnet50": ("home:.vip/resnet50/model.pt",),
}

PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "clip_vitb32": ("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",),
    "clip_vitb16": ("5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",),
    "clip_vitl14": ("b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",),
    "clip_resnet50": ("afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",),
}
"""SHA-256 of files that are known to hold a row's weights, beside the one of its own source."""

MARKS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "voltron_vcond_small": (("img_token",), ("img_enc_token", "ctx_enc_pe")),
    "voltron_vcond_base": (("img_token",), ("img_enc_token", "ctx_enc_pe")),
    "voltron_vdual_small": (("img_token", "ctx_enc_pe"), ("img_enc_token",)),
    "voltron_vgen_small": (("img_enc_token", "ctx_enc_pe"), ("img_token",)),
}
"""Tensors that the files of a row hold, and tensors that only its look-alikes hold.

Source: siddk/voltron-robotics, `models/core/{vcond,vdual,vgen}.py`.
"""

EXPECT_DECODER = frozenset({"vc1_vitb16", "vc1_vitl16"})
"""Rows whose authors' loader drops a decoder from the file; facebookresearch/eai-vc, `models/vit/vit.py`."""

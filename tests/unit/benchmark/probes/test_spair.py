"""SPair-71k: a tiny made-up set in its format, and the protocol of DIFT on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pvrbench.benchmark.catalog import encoders
from pvrbench.benchmark.cli import main
from pvrbench.benchmark.engine.encoder_pool import load_encoder
from pvrbench.benchmark.probes.spair import SpairError, read_spair, score_spair

COLOURS = ((230, 30, 30), (30, 200, 40), (40, 60, 230))


def scene(size: tuple[int, int], places: list[tuple[int, int]]) -> Image.Image:
    """Squares of three colours on grey."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    for (x, y), colour in zip(places, COLOURS, strict=True):
        image[y - 12 : y + 13, x - 12 : x + 13] = colour
    return Image.fromarray(image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two categories: one whose points are on squares of the same colour, one whose points are exchanged."""
    places = [(40, 40), (120, 60), (70, 130)], [(150, 100), (60, 40), (210, 160)]
    for category in ("cat", "dog"):
        (tmp_path / "JPEGImages" / category).mkdir(parents=True)
        scene((168, 168), places[0]).save(tmp_path / "JPEGImages" / category / "a.jpg", quality=95)
        scene((252, 196), places[1]).save(tmp_path / "JPEGImages" / category / "b.jpg", quality=95)
        annotation = {
            "category": category,
            "src_imname": "a.jpg",
            "trg_imname": "b.jpg",
            "src_kps": places[0],
            "trg_kps": places[1] if category == "cat" else [places[1][0], places[1][2], places[1][1]],
            "trg_bndbox": [40, 20, 230, 180],
        }
        (tmp_path / "PairAnnotation" / "test").mkdir(parents=True, exist_ok=True)
        (tmp_path / "PairAnnotation" / "test" / f"000-{category}.json").write_text(json.dumps(annotation))
    return tmp_path


def test_points_of_one_colour_are_found(folder: Path) -> None:
    pairs = read_spair(folder, "test")
    assert [(pair.category, len(pair.source_points), pair.box_px) for pair in pairs] == [
        ("cat", 3, 190),
        ("dog", 3, 190),
    ]
    cat, dog, every = score_spair(load_encoder(encoders()["pixels_28"]), pairs)
    assert (cat.category, cat.per_image, cat.per_point, cat.num_points) == ("cat", 1.0, 1.0, 3)
    assert (dog.category, dog.per_point) == ("dog", pytest.approx(1 / 3))
    assert (every.category, every.per_image, every.num_pairs) == ("all", pytest.approx(2 / 3), 2)


def test_the_command_prints_every_category(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["spair", "pixels_28", f"folder={folder}", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert [(score["category"], round(score["per_point"], 2)) for score in printed] == [
        ("cat", 1.0),
        ("dog", 0.33),
        ("all", 0.67),
    ]
    assert main(["spair", "oracle", f"folder={folder}"]) == 2
    assert "oracle reads no images" in capfd.readouterr().err
    assert main(["spair", "pixels_28", "folder=nowhere"]) == 2
    assert "nowhere holds no PairAnnotation/test" in capfd.readouterr().err


FAULTY = """
import torch

def drawn_anew(images):
    return torch.rand(len(images), 4, 4, 8)

def broken(images):
    return torch.full((len(images), 4, 4, 8), float("nan"))
"""


@pytest.mark.parametrize(("name", "told"), [("drawn_anew", "it draws random numbers"), ("broken", "NaN or infinity")])
def test_an_encoder_without_sound_features_gets_no_score(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    (folder / "faulty_grids.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(folder))
    assert main(["spair", f"faulty_grids:{name}", f"folder={folder}"]) != 0
    captured = capfd.readouterr()
    assert told in captured.err
    assert "PCK" not in captured.out


def test_some_pairs_are_evenly_spread(folder: Path) -> None:
    assert [pair.category for pair in read_spair(folder, "test", 1)] == ["cat"]


def test_what_is_not_the_data_set_is_named(folder: Path) -> None:
    with pytest.raises(SpairError, match="holds no PairAnnotation/val"):
        read_spair(folder, "val")
    (folder / "JPEGImages" / "dog" / "b.jpg").unlink()
    with pytest.raises(SpairError, match=r"b\.jpg, which is not there"):
        read_spair(folder, "test")
    path = folder / "PairAnnotation" / "test" / "000-cat.json"
    path.write_text('{"category": "cat"}')
    with pytest.raises(SpairError, match="not an annotation"):
        read_spair(folder, "test")

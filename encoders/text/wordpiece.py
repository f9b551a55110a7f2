"""WordPiece with the vocabulary of BERT's uncased models.

Source: Devlin et al. 2019, arXiv:1810.04805; the vocabulary is that of `google-research/bert` (Apache-2.0).
"""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

VOCABULARY = Path(__file__).with_name("uncased_vocabulary.txt.gz")
START, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"

# A longer word is unknown as a whole.
MAX_LETTERS = 100


@cache
def vocabulary() -> Mapping[str, int]:
    """Numbers of the word pieces."""
    with gzip.open(VOCABULARY, "rt", encoding="utf-8") as file:
        return {line.rstrip("\n"): number for number, line in enumerate(file)}


def token_numbers(text: str, max_tokens: int) -> list[int]:
    """The tokens of a text, between `[CLS]` and `[SEP]`.

    Args:
        text: the text.
        max_tokens: at most so many, the two included; what is beyond is cut off.
    """
    known = vocabulary()
    pieces = [piece for word in _words(text) for piece in _pieces(word, known)]
    return [known[piece] for piece in (START, *pieces[: max_tokens - 2], END)]


def _words(text: str) -> list[str]:
    """Words in lower case without accents; punctuation stands alone."""
    plain = "".join(letter for letter in unicodedata.normalize("NFD", text.lower()) if not _is_accent(letter))
    return "".join(f" {letter} " if _is_punctuation(letter) else letter for letter in plain).split()


def _is_accent(letter: str) -> bool:
    return unicodedata.category(letter) == "Mn"


def _is_punctuation(letter: str) -> bool:
    is_ascii_sign = letter.isascii() and letter.isprintable() and not letter.isalnum() and not letter.isspace()
    return is_ascii_sign or unicodedata.category(letter).startswith("P")


def _pieces(word: str, known: Mapping[str, int]) -> Iterator[str]:
    """The longest known pieces, from the left; one unknown piece makes the whole word unknown."""
    found: list[str] = []
    start = 0
    while start < len(word) <= MAX_LETTERS:
        lead = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if lead + word[start:end] in known), None)
        if end is None:
            break
        found.append(lead + word[start:end])
        start = end
    yield from found if start == len(word) else [UNKNOWN]

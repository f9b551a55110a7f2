"""What the verbs share: how one is added, and how JSON is printed."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Protocol, runtime_checkable


@runtime_checkable
class AddVerb(Protocol):
    """Adds a verb to the command line."""

    def __call__(self, name: str, help_text: str, body: object, *, epilog: str | None = None) -> ArgumentParser:
        """Returns the verb's parser, to which arguments are added."""
        ...


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")

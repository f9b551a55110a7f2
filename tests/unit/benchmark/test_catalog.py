"""Catalogs are mappings: a name that is not there has no value, and the error for it offers the nearest one."""

from __future__ import annotations

import pytest

from pvrbench.benchmark.catalog import UnknownNameError, encoders, heads, tasks, text_encoders


def test_a_catalog_gives_nothing_for_a_name_that_it_does_not_have() -> None:
    for catalog in (encoders(), heads(), tasks(), text_encoders()):
        assert catalog.get("no_such_name") is None


def test_the_error_for_an_unknown_name_is_a_plain_sentence() -> None:
    with pytest.raises(UnknownNameError) as caught:
        encoders()["zoo_mea"]
    assert str(caught.value).startswith("Unknown encoder 'zoo_mea'.")

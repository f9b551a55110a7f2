"""Files that are whole or not there, and what is said where the system refuses them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pvrbench.common.files import describe_os_error, write_whole


def to_a_full_disk(_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        full.write(b"content")


def test_a_full_disk_is_told_with_the_path_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "record.json"
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(path, to_a_full_disk)
    assert (
        describe_os_error(caught.value)
        == f"{path}: No space left on device. Free space there, or write to another folder."
    )
    assert list(path.parent.iterdir()) == []


def test_an_error_of_the_system_without_a_path_keeps_its_text() -> None:
    assert describe_os_error(OSError("the hub cannot be reached")) == "the hub cannot be reached"
    assert describe_os_error(OSError(errno.EACCES, "Permission denied", "/x")) == "/x: Permission denied."

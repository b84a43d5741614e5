"""Files of secrets: whole or not there, readable by their owner alone, and never replaced."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway import private_files
from gateway.problems import OperatorError


def test_a_new_file_is_readable_by_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_files.create(tmp_path / "created", "content")
        private_files.replace(tmp_path / "replaced", "content")
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert path.read_text() == "content"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_created_again(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("in use")
    with pytest.raises(FileExistsError):
        private_files.create(tmp_path / "secret", "another")
    assert (tmp_path / "secret").read_text() == "in use"
    assert list(tmp_path.iterdir()) == [tmp_path / "secret"]


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        private_files.create(tmp_path / "secret", "another")
    assert not (tmp_path / "elsewhere").exists()


def test_a_failure_leaves_the_old_content_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest").write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (private_files.create, private_files.replace):
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "manifest", "new")
    assert (tmp_path / "manifest").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "manifest"]


def test_a_secret_is_made_once_by_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: private_files.secret(tmp_path / "pepper"), range(32)))
    assert made == {(tmp_path / "pepper").read_text()}


def test_a_secret_that_was_lost_is_not_drawn_again(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("")
    with pytest.raises(OperatorError, match="is empty: its secret is lost"):
        private_files.secret(tmp_path / "pepper")
    assert (tmp_path / "pepper").read_text() == ""

"""The log never raises, never waits, and counts what it loses."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import logs
from gateway.logs import Lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ours, theirs = os.pipe()
    yield ours, theirs
    for end in (ours, theirs):
        try:
            os.close(end)
        except OSError:
            continue


def lost(lines: Lines, expected: int) -> bool:
    deadline, count = time.monotonic() + 10, 0
    while count < expected and time.monotonic() < deadline:
        count += lines.take_lost()
        time.sleep(0.01)
    return count == expected


def test_lines_are_written_in_order_and_the_last_ones_at_the_end(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1])
    logger = lines()
    for number in range(1000):
        logger.info(f"line {number}")
    lines.close()
    assert os.read(pipe[0], 2**16).decode() == "".join(f"line {number}\n" for number in range(1000))
    assert lines.take_lost() == 0


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        lines = Lines(full.fileno())
        for _ in range(100):
            lines.write("a line\n")
        assert lost(lines, 100)
        assert lines.take_lost() == 0, "they are counted once"
        lines.close()


def test_a_pipe_without_a_reader_loses_lines(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    lines = Lines(pipe[1])
    lines.write("a line\n")
    assert lost(lines, 1)
    lines.close()


def test_a_closed_output_loses_lines(pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    lines = Lines(pipe[1])
    lines.write("a line\n")
    assert lost(lines, 1)
    lines.close()


def test_nobody_waits_for_a_reader_that_stands_still(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUED", 50)
    room = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    lines = Lines(pipe[1])
    lines.write("x" * 2 * room + "\n")
    while lines._waiting:
        time.sleep(0.001)
    began = time.monotonic()
    for _ in range(1000):
        lines.write("a line\n")
    assert time.monotonic() - began < 0.5
    assert lost(lines, 950)
    lines.close()
    assert time.monotonic() - began < 5, "its end waited for the reader"
    os.close(pipe[0])  # or else its thread would write into the pipe of another test
    lines._thread.join()


def test_an_output_that_others_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    room = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    lines = Lines(pipe[1])
    lines.write("x" * 2 * room + "\n")
    read = b""
    while len(read) < 2 * room + 1:
        read += os.read(pipe[0], 2**16)
    lines.close()
    assert read.endswith(b"x\n")
    assert lines.take_lost() == 0


def test_a_line_after_a_torn_one_begins_on_a_new_line(tmp_path: Path) -> None:
    """A disk that becomes full takes a part of a line."""
    target = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    written: list[int] = []

    def write(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        if len(written) == 1:
            return os.pwrite(descriptor, data[:10], 0)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return os.pwrite(descriptor, data, 10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs.os, "write", write)
        lines = Lines(target)
        lines._waiting.append("first\n")  # together with the next
        lines.write("second\n")
        assert lost(lines, 1)
        lines.write("third\n")
        lines.close()
    os.close(target)
    assert (tmp_path / "log").read_text() == "first\nseco\nthird\n"


UNUSUAL = {"a surrogate": "\udc80", "no number": float("nan"), "a set": {1, 2}, "an object": object()}


@pytest.mark.parametrize("value", UNUSUAL.values(), ids=UNUSUAL)
def test_every_event_becomes_one_line_of_json(value: object) -> None:
    line = logs._json({"event": "a\nb", "value": value})
    assert isinstance(json.loads(line), dict)
    assert "\n" not in line


def test_an_event_that_no_text_can_be_made_of_is_a_line_too() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert json.loads(logs._json({"event": "x", "value": Broken()})) == {"event": "not_loggable", "level": "error"}

"""Structured logs: one JSON object a line, without tokens, passwords or e-mail addresses.

Logging never decides anything: a line that cannot be written is lost and counted.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import threading
import time
from collections import deque

import msgspec
import structlog

STANDARD_OUTPUT = 1
QUEUED = 10_000  # lines that wait for a reader that stands still, or for a slow disk
GATHERED_FOR = 0.005  # seconds between two writes
FLUSHED_WITHIN = 1.0  # seconds at the end of the process


def configure(level: str) -> None:
    """Send logs of this level and above to standard output, those of libraries included."""
    lines = Lines(STANDARD_OUTPUT)
    atexit.register(lines.close)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lines,
        cache_logger_on_first_use=True,
    )
    # Libraries quote what they were given (a bad request line, say): only their warnings, and
    # only their names and kinds.
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryHandler()], force=True)


def take_lost() -> int:
    """How many lines of this process were lost since the last call."""
    lines = structlog.get_config()["logger_factory"]
    return lines.take_lost() if isinstance(lines, Lines) else 0


class Lines:
    """Writes lines to a file descriptor in a thread of its own, so that nobody waits for a log.

    It never raises: a disk may be full, and a pipe may have no reader or one that stands still.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._torn = False  # the last thing written was a part of a line
        self._lock = threading.Lock()
        self._lost = 0
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def __call__(self, *_: object) -> structlog.WriteLogger:
        """A logger of structlog's; this object is its factory and its file."""
        return structlog.WriteLogger(self)  # type: ignore[arg-type]

    def write(self, line: str) -> None:
        """Take a line, which ends with its newline."""
        if len(self._waiting) >= QUEUED:
            self._lose(1)
            return
        self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self) -> None:
        """Nothing: the thread writes as soon as it can."""

    def take_lost(self) -> int:
        """How many lines were lost since the last call."""
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """Write what waits, but do not wait long for it."""
        self._closing = True
        self._wake.set()
        self._thread.join(FLUSHED_WITHIN)

    def _lose(self, count: int) -> None:
        with self._lock:
            self._lost += count

    def _run(self) -> None:
        while not (self._closing and not self._waiting):
            self._wake.wait()
            self._wake.clear()
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._write_all(lines)
            time.sleep(GATHERED_FOR)  # what comes meanwhile goes out together, and a broken output is no busy loop

    def _write_all(self, lines: list[str]) -> None:
        mended = "\n" if self._torn and lines else ""
        data = (mended + "".join(lines)).encode(errors="backslashreplace")
        written = 0
        while written < len(data):
            try:
                written += os.write(self._descriptor, data[written:])
            except BlockingIOError:  # somebody we share it with has made it so
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                self._lose(len(lines) - max(data.count(b"\n", 0, written) - len(mended), 0))
                break
        if written:
            self._torn = data[written - 1 : written] != b"\n"


class _LibraryHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        structlog.get_logger().warning("library", logger=record.name, exception=kind)


def _json(event: object, **_: object) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=repr).decode()
    except Exception:  # a text that is not Unicode, say, or an object whose repr fails
        return json.dumps({"event": "not_loggable", "level": "error"})

"""What a person at the terminal sees beside a command's output: steps and errors, both on standard error."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, NoReturn

import click
import psycopg

from gateway.problems import OperatorError

FAILED = 1  # exit code of an error that has one clear line; click's own is 2


def step(text: str) -> None:
    """Report one step of a command."""
    click.echo(f"- {text}", err=True)


class Group(click.Group):
    """Turns each error that an operator can correct into one clear line, a hint and an exit code.

    What a command prints never decides what it does: it goes on when its output cannot be written, and fails at
    the end.
    """

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command that the process was started for."""
        output = _open_standard_streams()
        try:
            return super().main(*arguments, **options)
        except SystemExit as end:
            if output is None or output.error is None or end.code:
                raise
            if output.error.errno != errno.EPIPE:  # a reader that has seen enough needs no explanation
                _tell(f"standard output: {output.error.strerror}")
            sys.exit(FAILED)

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except OperatorError as error:
            _fail(str(error), error.hint)
        except psycopg.Error as error:
            _fail(_database_message(error))
        except UnicodeEncodeError:  # of what the database gets from the command line or the environment
            _fail("an argument is not text in UTF-8")
        except OSError as error:
            _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))


class _Output(io.FileIO):
    """A standard stream that takes what it cannot write, and keeps the error."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(memoryview(data).cast("B"))


def _open_standard_streams() -> _Output | None:
    """Replace standard output and error by ones that never raise; returns the former.

    None if something else than a file stands in for it, as in a test.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Closed: the next file or connection that is opened would become our output. Reading alone is
            # allowed, so that each write fails as it should.
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return None
    output = _Output(1)
    sys.stdout = _text(output, sys.__stdout__, line_buffering=output.isatty())
    sys.stderr = _text(_Output(2), sys.__stderr__, line_buffering=True)
    return output


def _text(stream: _Output, before: Any, line_buffering: bool) -> io.TextIOWrapper:
    encoding = before.encoding if before else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(stream), encoding=encoding, errors="backslashreplace", line_buffering=line_buffering
    )


def _fail(message: str, hint: str | None = None) -> NoReturn:
    for line in message.splitlines():
        _tell(line)
    if hint:
        click.echo(f"hint:  {hint}", err=True)
    sys.exit(FAILED)


def _tell(error: str) -> None:
    click.secho(f"error: {error}", err=True, fg="red")


def _database_message(error: psycopg.Error) -> str:
    """Our functions explain a refusal in its detail; the message is a code for programs."""
    if (error.sqlstate or "").startswith("PT"):
        return error.diag.message_detail or str(error)
    return f"the database says: {error.diag.message_primary or str(error).strip()}"

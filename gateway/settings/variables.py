"""How variables of the environment are declared and read.

A variable that is empty or blank counts as not set. It can also be given as a file: then NAME_FILE names a
file that contains the value (a Docker secret, for example). A line end at the end of the file is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg.conninfo import make_conninfo

from gateway.problems import OperatorError
from gateway.settings.parsers import conninfo, optional_secret

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)


@dataclass(frozen=True, slots=True)
class Variable:
    """The name, the default and the description of one variable; ``default`` None means that it is required."""

    name: str
    default: str | None
    about: str
    secret: bool = False


def setting(name: str, parse: Callable[[str], Any], default: str | None, about: str, secret: bool = False) -> Any:
    """A field of a dataclass that is read from the variable ``name``."""
    return field(metadata={"variable": Variable(name, default, about, secret), "parse": parse})


def variables(kind: type[DataclassInstance]) -> list[Variable]:
    """The variables of a dataclass, in the order of its fields."""
    return [f.metadata["variable"] for f in fields(kind)]


def read_all(kind: type[T], environment: Mapping[str, str], hint: str | None = None) -> T:
    """The dataclass, read from the environment.

    Raises OperatorError with one line for each variable that is missing or wrong. The lines do not
    contain values: they may be secrets.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for f in fields(kind):
        variable: Variable = f.metadata["variable"]
        try:
            text = read(environment, variable.name) or variable.default
            if text is None:
                wrong.append(f"{variable.name} is not set ({variable.about})")
            else:
                values[f.name] = f.metadata["parse"](text)
        except ValueError as error:
            wrong.append(f"{variable.name} {error}")
    if wrong:
        raise OperatorError("\n".join(wrong), hint=hint)
    return kind(**values)


def read(environment: Mapping[str, str], name: str) -> str:
    """The variable, or the content of the file that NAME_FILE names; empty when neither is set.

    Raises ValueError when both are set, and when the file cannot be read.
    """
    given, path = given_in(environment, name), given_in(environment, f"{name}_FILE")
    if given and path:
        raise ValueError(f"is set, and so is {name}_FILE: set only one of them")
    if not path:
        return given
    try:
        content = Path(path).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise ValueError(f"cannot be read from the file of {name}_FILE: {reason}") from None
    return content if content.strip() else ""


def read_secret(environment: Mapping[str, str], name: str) -> str:
    """The secret of NAME or NAME_FILE, empty when neither is set. Raises OperatorError when it is weak."""
    try:
        return optional_secret(read(environment, name))
    except ValueError as error:
        raise OperatorError(f"{name} {error}") from error


def given_in(environment: Mapping[str, str], name: str) -> str:
    """The variable itself, empty when it is not set."""
    given = environment.get(name, "")
    return given if given.strip() else ""


def is_given(environment: Mapping[str, str], name: str) -> bool:
    """Whether NAME or NAME_FILE is set."""
    return bool(given_in(environment, name) or given_in(environment, f"{name}_FILE"))


def with_password(url: str, password: str) -> str:
    """The connection string of a database with this password. A password in it wins. Raises ValueError."""
    if not password or conninfo(url).get("password"):
        return url
    return make_conninfo(url, password=password)

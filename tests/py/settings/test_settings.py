"""Settings: what counts as set, and the least and the most that each may be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.problems import OperatorError
from gateway.settings import parsers
from gateway.settings.maintenance import Maintenance, load_maintenance
from gateway.settings.serving import Settings, load
from gateway.settings.variables import is_given, read, variables
from harness.gateways import PEPPER
from harness.programs import mana

REQUIRED = {"DATABASE_URL": "postgresql://127.0.0.1/mana", "PASSWORD_PEPPER": PEPPER}
OPTIONAL = [variable.name for variable in variables(Settings) if variable.name not in REQUIRED]


# ---------------------------------------------------------------- set or not


@pytest.mark.parametrize("blank", ["", " ", "\t "])
def test_a_variable_that_is_empty_or_blank_has_its_default(blank: str) -> None:
    assert load({**REQUIRED, **dict.fromkeys(OPTIONAL, blank)}) == load(REQUIRED)
    of_maintenance = [variable.name for variable in variables(Maintenance)]
    assert load_maintenance(dict.fromkeys(of_maintenance, blank)) == load_maintenance({})
    assert not is_given({"CORS_ORIGINS": blank, "CORS_ORIGINS_FILE": blank}, "CORS_ORIGINS")


@pytest.mark.parametrize("content", ["", "\n", "  \r\n"])
def test_a_file_that_is_empty_or_blank_sets_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "directory").write_text(content)
    assert read({"DATA_DIR_FILE": str(tmp_path / "directory")}, "DATA_DIR") == ""


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_variable_that_is_blank_is_missing(name: str) -> None:
    with pytest.raises(OperatorError, match=f"^{name} is not set"):
        load({**REQUIRED, name: " "})


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("command", [("run",), ("keys", "generate")], ids=" ".join)
def test_with_an_empty_data_dir_files_are_where_they_are_without_one(
    tmp_path: Path, command: tuple[str, ...], blank: str
) -> None:
    environment = {"DATA_DIR": blank, "DATABASE_URL": "postgresql://127.0.0.1:1/mana"}
    mana(*command, environment=environment, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".dev"]


def test_a_data_dir_can_be_named_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "name").write_text(f"{tmp_path}/keys of a test\n")
    done = mana("keys", "generate", environment={"DATA_DIR_FILE": str(tmp_path / "name")}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "keys of a test" / "keys").is_dir()


# ---------------------------------------------------------------- least and most


@pytest.mark.parametrize(
    ("value", "seconds"), [("1s", 1), ("1", 1), ("1500ms", 1.5), ("15m", 900), ("2h", 7200), ("2d", 172800)]
)
def test_a_duration(value: str, seconds: float) -> None:
    assert parsers.duration(days=2)(value) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["0", "0d", "999ms", "172801", "49h", "3d", "73000d", "9" * 12 + "d"])
def test_a_duration_out_of_its_range_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^must be from 1s to 2d$"):
        parsers.duration(days=2)(value)


@pytest.mark.parametrize("value", ["1w", "-1d", "1.5h", "1 d", "\u0661d", "9" * 13, "1e9"])
def test_what_is_no_duration_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration such as"):
        parsers.duration(days=2)(value)


def test_no_setting_takes_centuries_or_billions() -> None:
    """Of all that are written as a number: the absurd is refused in one line each, and nothing starts."""
    absurd = {
        **dict.fromkeys(OPTIONAL, "999999999999"), "JWT_ISSUER": "x" * 10_000, "JWT_AUDIENCE": "a\nb",
        "HOST": "x" * 1000, "REDIS_HOST": "a b",
    }  # fmt: skip
    for text in ("DATA_DIR", "DATABASE_PASSWORD", "REDIS_PASSWORD", "JWT_PRIVATE_KEY", "JWT_PUBLIC_KEY"):
        del absurd[text]
    with pytest.raises(OperatorError) as refused:
        load({**REQUIRED, **absurd})
    assert sorted(line.split()[0] for line in str(refused.value).splitlines()) == sorted(absurd)


@pytest.mark.parametrize("name", ["BACKUP_KEEP", "BACKUP_EVERY", "LEDGER_EVERY", "LEDGER_FULL_EVERY"])
def test_maintenance_takes_no_centuries_either(name: str) -> None:
    with pytest.raises(OperatorError, match=f"^{name} must be"):
        load_maintenance({name: "73000d"})


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("redis_1.internal", "redis_1.internal"),
    ],
)
def test_a_host(value: str, host: str) -> None:
    assert parsers.host(value) == host
    assert parsers.optional_host(value) == host


@pytest.mark.parametrize("value", ["a:1", "[::1", "[::1]:80", "http://a", "a b", "a/b", "[]", ":", "x" * 254])
def test_what_is_no_host_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an address"):
        parsers.host(value)

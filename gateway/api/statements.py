"""From the name of a function in schema ``api`` to the SQL that calls it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.database.calls import Statement

_PLURALS = {"claims": "claims", "metadata": "metadata"}


def statement(
    function: str, parameters: Sequence[str] = (), serves_many: bool = False, hashes_password: bool = False
) -> Statement:
    """The statement of a function. If it serves many, its parameters have the plural as their names, and the
    last one is whether it waits for locks.
    """
    names = [_PLURALS.get(name, f"{name}s") if serves_many else name for name in parameters]
    names += ["wait"] if serves_many else []
    arguments = ", ".join(f"p_{name} => ${i}" for i, name in enumerate(names, 1))
    sql = f"select status, body, headers, events from api.{function}({arguments})"  # noqa: S608
    return Statement(
        function, sql, serves_many, hashes_password, names_user=parameters[:1] == ("user_id",), looks=not parameters
    )


HEALTH = statement("health")

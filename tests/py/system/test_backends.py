"""Trusted backends: credits move inside their own transaction, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from harness.clients import Service, Session
from harness.databases import Database
from harness.doors import backend_login

USE = "select * from credits.use_credits(p_amount => %s, p_app_id => 'shop', p_description => 'a book')"
USE_ONCE = """
select *
  from credits.use_credits(p_amount => %s, p_app_id => 'shop', p_description => 'a book', p_idempotency_key => %s)
"""
RECEIPT = [
    "id", "user_id", "type", "status", "amount", "balance_before", "balance_after", "app_id", "description",
    "metadata", "idempotency_key", "created_at", "completed_at", "balance", "free_credits_remaining",
    "total_spent", "version", "replayed",
]  # fmt: skip

Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture(scope="module")
def backend_url(database: Database) -> Iterator[str]:
    with backend_login(database) as url:
        yield url


@pytest.fixture
def backend(backend_url: str) -> Iterator[Connection]:
    """A connection in autocommit: a transaction is what a test opens."""
    with connect(backend_url) as connection:
        yield connection


@pytest.fixture
async def user(service: Service) -> Session:
    """A user with 150 free credits."""
    return await service.new_session()


def connect(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True, row_factory=dict_row)


def act_as(backend: Connection, user_id: object) -> None:
    backend.execute("select auth.act_as(%s)", (user_id,))


def row(backend: Connection, statement: str, *arguments: object) -> dict[str, Any]:
    found = backend.execute(statement.encode(), arguments).fetchone()
    assert found is not None
    return found


def refusal(error: pytest.ExceptionInfo[psycopg.Error]) -> tuple[str | None, str | None]:
    return error.value.sqlstate, error.value.diag.message_primary


def spent(database: Database, user_id: str) -> tuple[int, int, int]:
    """What the balance, the transactions and the ledger say that a user has spent."""
    [amounts] = database.query(
        """select (select total_spent from credits.balances where user_id = %s)::int,
                  (select coalesce(-sum(amount), 0) from credits.transactions
                    where user_id = %s and type = 'usage')::int,
                  (select coalesce(sum(amount), 0) from credits.ledger_entries
                    where user_id = %s and credit_account = 'usage')::int""",
        user_id, user_id, user_id,
    )  # fmt: skip
    return amounts[0], amounts[1], amounts[2]


def orders(database: Database, user_id: str) -> list[UUID]:
    return [found for (found,) in database.query("select transaction_id from shop.orders where user_id = %s", user_id)]


def order(backend: Connection, user: Session, amount: int) -> dict[str, Any]:
    receipt = row(backend, USE, amount)
    backend.execute("insert into shop.orders (user_id, transaction_id) values (%s, %s)", (user.user_id, receipt["id"]))
    return receipt


def test_a_spend_and_an_order_commit_together(database: Database, backend: Connection, user: Session) -> None:
    with backend.transaction():
        act_as(backend, user.user_id)
        receipt = order(backend, user, 30)
    assert orders(database, user.user_id) == [receipt["id"]]
    assert spent(database, user.user_id) == (30, 30, 30)
    database.assert_ledger_is_sound()


def test_a_spend_and_an_order_roll_back_together(database: Database, backend: Connection, user: Session) -> None:
    with backend.transaction(force_rollback=True):
        act_as(backend, user.user_id)
        order(backend, user, 30)
    assert orders(database, user.user_id) == []
    assert spent(database, user.user_id) == (0, 0, 0)
    database.assert_ledger_is_sound()


def test_a_lost_connection_takes_its_spend_back(database: Database, backend_url: str, user: Session) -> None:
    lost = connect(backend_url)
    lost.execute("begin")
    act_as(lost, user.user_id)
    order(lost, user, 30)
    lost.pgconn.finish()
    with connect(backend_url) as backend, backend.transaction():
        act_as(backend, user.user_id)
        assert order(backend, user, 150)["free_credits_remaining"] == 0
    assert spent(database, user.user_id) == (150, 150, 150)
    database.assert_ledger_is_sound()


def test_too_few_credits_undo_the_whole_transaction(database: Database, backend: Connection, user: Session) -> None:
    with pytest.raises(psycopg.Error) as error, backend.transaction():
        act_as(backend, user.user_id)
        order(backend, user, 100)
        order(backend, user, 51)
    assert refusal(error) == ("PT402", "insufficient_credits")
    assert orders(database, user.user_id) == []
    assert spent(database, user.user_id) == (0, 0, 0)
    database.assert_ledger_is_sound()


def test_a_savepoint_survives_a_refusal(database: Database, backend: Connection, user: Session) -> None:
    with backend.transaction():
        act_as(backend, user.user_id)
        order(backend, user, 100)
        with pytest.raises(psycopg.Error) as error, backend.transaction():
            order(backend, user, 51)
        order(backend, user, 50)
    assert error.value.sqlstate == "PT402"
    assert len(orders(database, user.user_id)) == 2
    assert spent(database, user.user_id) == (150, 150, 150)
    database.assert_ledger_is_sound()


def test_a_rollback_gives_the_key_back(database: Database, backend: Connection, user: Session) -> None:
    key = str(uuid4())
    with backend.transaction(force_rollback=True):
        act_as(backend, user.user_id)
        row(backend, USE_ONCE, 30, key)
    with backend.transaction():
        act_as(backend, user.user_id)
        receipt = row(backend, USE_ONCE, 40, key)
    assert (receipt["replayed"], receipt["amount"]) == (False, -40)
    assert spent(database, user.user_id) == (40, 40, 40)
    database.assert_ledger_is_sound()


async def test_a_key_that_was_used_over_http_is_replayed(
    database: Database, backend: Connection, user: Session
) -> None:
    key = str(uuid4())
    reply = await user.use(30, appId="shop", description="a book", idempotencyKey=key)
    with backend.transaction():
        act_as(backend, user.user_id)
        receipt = row(backend, USE_ONCE, 30, key)
    assert (receipt["replayed"], str(receipt["id"])) == (True, reply.body["transaction"]["id"])
    with pytest.raises(psycopg.Error) as error, backend.transaction():
        act_as(backend, user.user_id)
        row(backend, USE_ONCE, 31, key)
    assert refusal(error) == ("PT422", "idempotency_key_reused")
    assert spent(database, user.user_id) == (30, 30, 30)
    database.assert_ledger_is_sound()


def test_a_second_backend_waits_for_the_balance(
    database: Database, backend: Connection, backend_url: str, user: Session
) -> None:
    with backend.transaction():
        act_as(backend, user.user_id)
        row(backend, USE, 1)
        with connect(backend_url) as other, pytest.raises(psycopg.errors.LockNotAvailable), other.transaction():
            other.execute("set local lock_timeout = '50ms'")
            act_as(other, user.user_id)
            row(other, USE, 1)
    assert spent(database, user.user_id) == (1, 1, 1)


@pytest.mark.parametrize(
    "call",
    ["get_balance()", "list_transactions()", "find_transaction('k')", "list_purchases()", "use_credits(1, 'a', 'b')"],
)
def test_a_transaction_without_a_user_gets_nothing(backend: Connection, call: str) -> None:
    with pytest.raises(psycopg.Error) as error, backend.transaction():
        backend.execute(f"select * from credits.{call}".encode())
    assert refusal(error) == ("PT401", "authentication_required")


def test_act_as_outside_of_a_transaction_does_not_reach_the_next_statement(backend: Connection, user: Session) -> None:
    act_as(backend, user.user_id)
    with pytest.raises(psycopg.Error) as error:
        row(backend, "select * from credits.get_balance()")
    assert refusal(error) == ("PT401", "authentication_required")


@pytest.mark.parametrize("ending", ["commit", "rollback", "failure"])
def test_a_user_does_not_reach_the_next_transaction(backend: Connection, user: Session, ending: str) -> None:
    backend.execute("begin")
    act_as(backend, user.user_id)
    row(backend, "select * from credits.get_balance()")
    if ending == "failure":
        with pytest.raises(psycopg.Error):
            row(backend, USE, 1000)
    backend.execute(b"commit" if ending == "commit" else b"rollback")

    with backend.transaction():
        found = row(backend, "select auth.uid() as uid, auth.role() as role, auth.session_id() as session_id")
        assert found == {"uid": None, "role": None, "session_id": None}
        with pytest.raises(psycopg.Error) as error, backend.transaction():
            row(backend, "select * from credits.get_balance()")
    assert error.value.sqlstate == "PT401"


async def test_each_user_in_a_transaction_gets_their_own_rows(
    database: Database, service: Service, backend: Connection, user: Session
) -> None:
    other = await service.new_session()
    with backend.transaction():
        for session, amount in ((user, 10), (other, 20)):
            act_as(backend, session.user_id)
            order(backend, session, amount)
            rows = backend.execute("select user_id from credits.list_transactions()").fetchall()
            assert {str(found["user_id"]) for found in rows} == {session.user_id}
    assert spent(database, user.user_id) == (10, 10, 10)
    assert spent(database, other.user_id) == (20, 20, 20)
    database.assert_ledger_is_sound()


def test_an_unknown_user_cannot_be_acted_for(backend: Connection) -> None:
    with pytest.raises(psycopg.Error) as error:
        act_as(backend, uuid4())
    assert refusal(error) == ("PT404", "not_found")


def test_a_deleted_user_cannot_be_acted_for(database: Database, backend: Connection, user: Session) -> None:
    database.query("update auth.users set deleted_at = now() where id = %s", user.user_id)
    with pytest.raises(psycopg.Error) as error:
        act_as(backend, user.user_id)
    assert refusal(error) == ("PT404", "not_found")


def test_a_disabled_user_cannot_be_acted_for(database: Database, backend: Connection, user: Session) -> None:
    database.query("select auth.set_disabled(%s, true)", user.email)
    with pytest.raises(psycopg.Error) as error:
        act_as(backend, user.user_id)
    assert refusal(error) == ("PT401", "account_disabled")


def test_after_a_refused_act_as_nobody_is_acted_for(backend: Connection, user: Session) -> None:
    with backend.transaction():
        with pytest.raises(psycopg.Error), backend.transaction():
            act_as(backend, uuid4())
        with pytest.raises(psycopg.Error) as error, backend.transaction():
            row(backend, USE, 1)
    assert error.value.sqlstate == "PT401"


def test_a_spend_is_a_typed_row(backend: Connection, user: Session) -> None:
    with backend.transaction():
        act_as(backend, user.user_id)
        receipt = row(
            backend,
            "select * from credits.use_credits(5, 'shop', 'a book', p_metadata => %s)",
            json.dumps({"pages": 300}),
        )
    assert list(receipt) == RECEIPT
    assert isinstance(receipt["id"], UUID)
    assert isinstance(receipt["created_at"], datetime)
    assert (receipt["amount"], receipt["balance_before"], receipt["balance_after"]) == (-5, 150, 145)
    assert (receipt["metadata"], receipt["type"], receipt["replayed"]) == ({"pages": 300}, "usage", False)


def test_a_balance_is_a_typed_row(backend: Connection, user: Session) -> None:
    with backend.transaction():
        act_as(backend, user.user_id)
        balance = row(backend, "select * from credits.get_balance()")
    assert isinstance(balance.pop("next_daily_credits_at"), datetime)
    assert balance == {
        "balance": 0, "free_credits_remaining": 150, "total_earned": 150, "total_spent": 0,
        "daily_free_credits": 5, "version": 1,
    }  # fmt: skip


def test_a_backend_lists_what_an_app_lists(backend: Connection, user: Session) -> None:
    with backend.transaction():
        act_as(backend, user.user_id)
        row(backend, USE, 5)
        rows = backend.execute("select * from credits.list_transactions(p_type => 'usage')").fetchall()
        assert [(found["amount"], found["app_id"]) for found in rows] == [(-5, "shop")]
        assert list(rows[0]) == RECEIPT
        assert backend.execute("select * from credits.list_purchases()").fetchall() == []


def test_a_backend_has_no_privilege_on_any_table(backend: Connection) -> None:
    tables = backend.execute(
        """select c.oid::regclass::text as name
             from pg_class as c
             join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname in ('base', 'auth', '_auth', 'credits', '_credits', 'api')
              and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')"""
    ).fetchall()
    assert len(tables) >= 15
    for table in tables:
        found = row(
            backend,
            """select has_table_privilege(%s, 'select, insert, update, delete, truncate, references, trigger')
                      or has_any_column_privilege(%s, 'select, insert, update, references') as any""",
            table["name"], table["name"],
        )  # fmt: skip
        assert not found["any"], table["name"]


@pytest.mark.parametrize("table", ["auth.users", "auth.passwords", "credits.balances", "credits.ledger_journal"])
def test_a_backend_cannot_read_a_table(backend: Connection, user: Session, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), backend.transaction():
        act_as(backend, user.user_id)
        backend.execute(f"select * from {table}".encode())


def test_a_backend_can_call_these_functions_and_no_others(backend: Connection) -> None:
    rows = backend.execute(
        """select format('%s.%s', n.nspname, p.proname) as name
             from pg_proc as p
             join pg_namespace as n on n.oid = p.pronamespace
            where n.nspname in ('base', 'auth', '_auth', 'credits', '_credits', 'api')
              and has_schema_privilege(n.oid, 'usage')
              and has_function_privilege(p.oid, 'execute')"""
    ).fetchall()
    assert {found["name"] for found in rows} == {
        "auth.act_as", "auth.uid", "auth.user_ids", "auth.role", "auth.session_id",
        "credits.get_balance", "credits.metadata_of_package", "credits.list_packages", "credits.get_purchase",
        "credits.list_purchases", "credits.list_transactions", "credits.page_of_transactions",
        "credits.find_transaction", "credits.use_credits", "credits.reverse_spend",
    }  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        "auth.log_in('a@example.com', 'digest', null, null, interval '1 day')",
        "auth.register_user('a@example.com', 'digest')",
        "auth.set_role('a@example.com', 'admin')",
        "credits.open_account(now())",
        "credits.spend_all(null, true)",
        "_credits.post_movements(null)",
        "credits.configure(1000000)",
        "credits.verify_ledger()",
        "api.health()",
    ],
)
def test_a_backend_cannot_call(backend: Connection, user: Session, call: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), backend.transaction():
        act_as(backend, user.user_id)
        backend.execute(f"select {call}".encode())


def test_a_backend_cannot_make_objects_in_the_service_s_schemas(backend: Connection) -> None:
    for schema in ("auth", "credits", "api", "public"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            backend.execute(f"create table {schema}.mine (id int)".encode())

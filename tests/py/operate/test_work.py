"""`mana work` with the double of Stripe: what only the worker sees, and what happens to two of them, or to none."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.operate import migrate
from harness.clients import Reply, Service, Session
from harness.databases import Database
from harness.gateways import PAYMENTS, Gateway
from harness.programs import mana
from harness.stripe_double import Double, Fault
from harness.waiting import until

PURCHASE = "/api/v1/credits/purchase"


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(database: Database, double: Double) -> Iterator[Gateway]:
    database.query("select credits.seed_packages()")
    with Gateway(database.gateway_url, {"STRIPE_API_BASE": double.url}) as running:
        double.endpoint(f"{running.url}/api/v1/webhooks/stripe", secret=PAYMENTS["STRIPE_WEBHOOK_SECRET"])
        yield running


@pytest.fixture(autouse=True)
def as_it_was(double: Double) -> Iterator[None]:
    """No fault and no held news is left over."""
    yield
    double.faults.clear()
    double.held.clear()
    double.hold(False)


@pytest.fixture(scope="module")
def worker_url(database: Database, tmp_path_factory: pytest.TempPathFactory) -> str:
    return migrate.login_url(
        database.admin_url, tmp_path_factory.mktemp("worker") / "password", "mana_worker", "WORKER_DATABASE_URL"
    )


@pytest.fixture
async def ada(gateway: Gateway) -> AsyncIterator[Session]:
    async with Service(gateway.url) as service:
        yield await service.new_session()


@contextlib.contextmanager
def working(worker_url: str, double: Double) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, which has to end well by itself."""
    environment = {
        "WORKER_DATABASE_URL": worker_url,
        "WORKER_PORT": "0",
        "STRIPE_SECRET_KEY": PAYMENTS["STRIPE_SECRET_KEY"],
        "STRIPE_API_BASE": double.url,
    }
    command = [sys.executable, "-m", "gateway", "work"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert b'"working"' in process.stdout.readline()
        yield process
        if process.poll() is None:
            process.terminate()
            assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


async def bought(ada: Session, double: Double, database: Database) -> tuple[str, str]:
    """A purchase that is paid and booked: its id, and that of the payment."""
    started = await start(ada)
    double.pay(page_of(started))
    purchase_id = started.body["purchaseId"]
    assert (await ada.get(f"{PURCHASE}/{purchase_id}")).body["status"] == "completed"
    [(intent,)] = database.query("select stripe_payment_intent_id from credits.purchases where id = %s", purchase_id)
    return purchase_id, str(intent)


async def start(ada: Session, **fields: Any) -> Reply:
    package = next(p for p in (await ada.get("/api/v1/credits/packages")).body if p["name"] == "Starter")
    return await ada.post(PURCHASE, {"packageId": package["id"], **fields})


def page_of(started: Reply) -> str:
    return str(started.body["checkoutUrl"].rpartition("/")[2])


def status(database: Database, purchase_id: str) -> str:
    [(found,)] = database.query("select status::text from credits.purchases where id = %s", purchase_id)
    return str(found)


def paid(database: Database, session: Session) -> int:
    [(found,)] = database.query("select balance from credits.balances where user_id = %s", session.user_id)
    return int(found)


def assert_sound(database: Database) -> None:
    assert database.query("select * from credits.verify_ledger()") == []


async def test_a_refund_from_the_dashboard_is_booked(
    ada: Session, double: Double, database: Database, worker_url: str
) -> None:
    purchase_id, intent = await bought(ada, double, database)
    with working(worker_url, double), working(worker_url, double):
        double.refund(intent, 40)
        await until(lambda: paid(database, ada) == 60, 15)
        assert status(database, purchase_id) == "completed"
        double.refund(intent, 60)
        await until(lambda: status(database, purchase_id) == "refunded", 15)
    assert (await ada.balance())["balance"] == 0
    [(reversals,)] = database.query(
        "select count(*) from credits.transactions where user_id = %s and type = 'refund'", ada.user_id
    )
    assert reversals == 2
    assert_sound(database)


async def test_a_dispute_takes_the_credits_until_it_is_won(
    ada: Session, double: Double, database: Database, worker_url: str
) -> None:
    purchase_id, intent = await bought(ada, double, database)
    assert (await ada.use(200)).status == 200
    with working(worker_url, double):
        dispute = double.dispute(intent)
        await until(lambda: status(database, purchase_id) == "refunded", 15)
        balance = await ada.balance()
        assert (balance["balance"], balance["debt"], balance["spendable"]) == (0, 50, 0)
        assert (await start(ada)).body["code"] == "purchases_blocked"
        double.decide(dispute, "won")
        await until(lambda: status(database, purchase_id) == "completed", 15)
    balance = await ada.balance()
    assert (balance["balance"], balance["debt"]) == (50, 0)
    assert (await start(ada)).status == 200
    assert_sound(database)


async def test_all_news_may_be_lost(ada: Session, double: Double, database: Database, worker_url: str) -> None:
    """Nobody comes back from paying, no news arrives, and the page's id was lost: the sweep finds the payment."""
    double.hold()
    started = await start(ada)
    purchase_id = started.body["purchaseId"]
    double.pay(page_of(started))
    database.query("update payments.orders set session_id = null where purchase_id = %s", purchase_id)
    database.query("update payments.tasks set due_at = now() where purchase_id = %s", purchase_id)
    with working(worker_url, double):
        await until(lambda: status(database, purchase_id) == "completed", 15)
    assert (await ada.balance())["balance"] == 100
    assert_sound(database)


async def test_a_page_that_never_was_expires(ada: Session, double: Double, database: Database, worker_url: str) -> None:
    double.faults.append(Fault("POST", "/v1/checkout/sessions", "before", times=9))
    started = await start(ada, idempotencyKey="never")
    assert started.body["code"] == "payments_unavailable"
    double.faults.clear()
    [(purchase_id,)] = database.query("select id from credits.purchases where user_id = %s", ada.user_id)
    due = "update payments.tasks set due_at = now() where purchase_id = %s"
    with working(worker_url, double):
        database.query(due, purchase_id)
        await until(lambda: done(database, purchase_id), 15)
        assert status(database, purchase_id) == "pending"
        database.query(
            "update credits.purchases set created_at = now() - interval '26 hours' where id = %s", purchase_id
        )
        database.query(due, purchase_id)
        await until(lambda: status(database, purchase_id) == "expired", 15)
    assert_sound(database)


def done(database: Database, purchase_id: str) -> bool:
    [(waits,)] = database.query(
        "select due_at > now() + interval '3 minutes' from payments.tasks where purchase_id = %s", purchase_id
    )
    return bool(waits)


async def test_a_refund_survives_a_provider_that_is_away_and_a_worker_that_is_killed(
    ada: Session, double: Double, database: Database, worker_url: str
) -> None:
    """The provider carries the refund out and its answer is lost: the money goes back once."""
    purchase_id, intent = await bought(ada, double, database)
    double.faults.append(Fault("POST", "/v1/refunds", "cut", times=4))
    refused = await ada.post(f"/api/v1/credits/purchases/{purchase_id}/refund")
    assert refused.body.get("code") in {"payments_unavailable", None}
    with working(worker_url, double) as killed:
        await until(lambda: killed.poll() is None and status(database, purchase_id) == "refunded", 15)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    double.faults.clear()
    database.query("update payments.tasks set due_at = now() where purchase_id = %s", purchase_id)
    with working(worker_url, double):
        asked = "select stripe_refund_id is not null from payments.refunds where purchase_id = %s"
        await until(lambda: database.query(asked, purchase_id) == [(True,)], 20)
    made = [
        one for one in double.asked if one.path == "/v1/refunds" and one.method == "POST" and intent in str(one.given)
    ]
    assert len({one.key for one in made}) == 1
    assert (await ada.balance())["balance"] == 0
    assert_sound(database)


async def test_an_administrator_refunds_what_is_spent(
    ada: Session, double: Double, database: Database, worker_url: str
) -> None:
    """In part, and then all that is left: what is short is debt."""
    purchase_id, _ = await bought(ada, double, database)
    assert (await ada.use(250)).status == 200
    refund = ["purchase", "refund", ada.email, purchase_id, "--actor", "grace"]
    administrator = {"DATABASE_ADMIN_URL": database.admin_url}
    assert mana(*refund, "--amount", "40", environment=administrator).returncode == 0
    assert paid(database, ada) == 0
    with working(worker_url, double):
        await until(lambda: paid(database, ada) == -40, 15)
        assert mana(*refund, environment=administrator).returncode == 0
        await until(lambda: status(database, purchase_id) == "refunded", 15)
        done = mana(*refund, environment=administrator)
        assert (done.returncode, done.stdout) == (1, "")
    assert (await ada.balance())["debt"] == 100
    assert database.query("select distinct actor from payments.refunds where purchase_id = %s", purchase_id) == [
        ("grace",)
    ]
    assert_sound(database)


async def test_while_the_provider_is_away_purchases_wait(
    ada: Session, double: Double, database: Database, worker_url: str
) -> None:
    purchase_id, intent = await bought(ada, double, database)
    double.faults.append(Fault("GET", "/v1/checkout/sessions", "before", times=50))
    double.refund(intent, 100)
    failure = "select failure from payments.tasks where purchase_id = %s"
    with working(worker_url, double):
        await until(lambda: database.query(failure, purchase_id) == [("payments_unavailable",)], 30)
        assert status(database, purchase_id) == "completed"
        double.faults.clear()
        await until(lambda: status(database, purchase_id) == "refunded", 30)
    assert database.query(failure, purchase_id) == [(None,)]
    assert_sound(database)


def test_its_role_reads_no_table(database: Database, worker_url: str) -> None:
    from psycopg import connect, errors

    with connect(worker_url, autocommit=True) as connection:
        for table in ("payments.tasks", "payments.orders", "credits.balances", "auth.users"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"select from {table}")


def test_without_a_database_it_tries_again_and_says_no_secret(double: Double, tmp_path: Path) -> None:
    nowhere = "postgresql://mana_worker:hidden-word@127.0.0.1:9/mana"
    log = tmp_path / "log"
    environment = {
        "WORKER_DATABASE_URL": nowhere, "WORKER_PORT": "0", "STRIPE_API_BASE": double.url,
        "STRIPE_SECRET_KEY": PAYMENTS["STRIPE_SECRET_KEY"],
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "work"], env=environment, stdout=output, stderr=output
        )
        deadline = time.monotonic() + 20
        while b"work_failed" not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None
        process.terminate()
        assert process.wait(15) == 0
    assert "work_failed" in log.read_text()
    assert "hidden-word" not in log.read_text()

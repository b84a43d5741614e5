"""Buying credits over HTTP, with the double of Stripe: what a person, the provider and the network do to a purchase."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from harness.clients import Reply, Service, Session
from harness.databases import Database
from harness.gateways import PAYMENTS, Gateway
from harness.stripe_double import Double, Fault
from harness.waiting import until

PURCHASE = "/api/v1/credits/purchase"
WEBHOOK = "/api/v1/webhooks/stripe"


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(database: Database, double: Double) -> Iterator[Gateway]:
    """One that sells, and that the double sends its events to."""
    database.query("select credits.seed_packages()")
    with Gateway(database.gateway_url, {"STRIPE_API_BASE": double.url}) as running:
        double.endpoint(f"{running.url}/api/v1/webhooks/stripe", secret=PAYMENTS["STRIPE_WEBHOOK_SECRET"])
        yield running


@pytest.fixture(autouse=True)
def quiet(double: Double) -> Iterator[None]:
    """Deliveries wait for the test, and no fault is left over."""
    double.hold()
    yield
    double.held.clear()
    double.faults.clear()


async def starter(session: Session) -> dict[str, Any]:
    packages = (await session.get("/api/v1/credits/packages")).body
    return next(package for package in packages if package["name"] == "Starter")


async def start(session: Session, **fields: Any) -> Reply:
    body = {"packageId": (await starter(session))["id"], "successUrl": "https://app.example.com/thanks", **fields}
    return await session.post(PURCHASE, body)


def session_id(started: Reply) -> str:
    return str(started.body["checkoutUrl"].rpartition("/")[2])


async def status(session: Session, started: Reply) -> str:
    return str((await session.get(f"{PURCHASE}/{started.body['purchaseId']}")).body["status"])


async def paid(session: Session) -> int:
    return int((await session.balance())["balance"])


async def test_a_package_is_bought(service: Service, double: Double, database: Database) -> None:
    ada = await service.new_session()
    started = await start(ada)
    assert started.status == 200, started.text
    assert (started.body["amount"], started.body["credits"], started.body["status"]) == (100, 100, "pending")
    assert double.pay(session_id(started)) == "paid"
    assert await paid(ada) == 0
    assert [double.deliver(delivery) for delivery in list(double.held)] == [200] * len(double.held)
    assert await paid(ada) == 100
    found = (await ada.get(f"{PURCHASE}/{started.body['purchaseId']}")).body
    assert (found["status"], found["amountPaid"]) == ("completed", 100)
    assert database.query("select * from credits.verify_ledger()") == []


async def test_all_news_may_come_twice_and_in_any_order(service: Service, double: Double, database: Database) -> None:
    ada = await service.new_session()
    started = await start(ada)
    double.pay(session_id(started))
    for delivery in [*reversed(double.held), *double.held]:
        assert double.deliver(delivery) == 200
    assert await paid(ada) == 100
    assert database.query("select * from credits.verify_ledger()") == []


async def test_without_any_news_the_buyer_sees_the_credits(service: Service, double: Double) -> None:
    ada = await service.new_session()
    started = await start(ada)
    assert await status(ada, started) == "pending"
    double.pay(session_id(started))
    await until(lambda: _completed(ada, started), 10)  # a purchase is looked at once in two seconds
    assert await paid(ada) == 100


async def _completed(session: Session, started: Reply) -> bool:
    return await status(session, started) == "completed"


async def test_the_way_back_books_the_payment_and_leads_to_the_app(service: Service, double: Double) -> None:
    ada = await service.new_session()
    started = await start(ada, successUrl="myapp://thanks?session={CHECKOUT_SESSION_ID}")
    double.pay(session_id(started))
    asked = next(a for a in reversed(double.asked) if a.path == "/v1/checkout/sessions" and a.method == "POST")
    back = asked.given["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id(started))
    reply = await service.get(back.removeprefix("https://auth.example.com"))
    assert (reply.status, reply.headers["Location"]) == (303, f"myapp://thanks?session={session_id(started)}")
    assert await paid(ada) == 100


async def test_a_retry_is_the_same_purchase_and_the_same_page(service: Service, double: Double) -> None:
    ada = await service.new_session()
    double.faults.append(Fault("POST", "/v1/checkout/sessions", "cut", times=3))  # the work is done, the answer lost
    first = await start(ada, idempotencyKey="k")
    assert (first.status, first.body["code"]) == (503, "payments_unavailable")
    again = await start(ada, idempotencyKey="k")
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    third = await start(ada, idempotencyKey="k")
    assert third.body == again.body
    assert len((await ada.get("/api/v1/credits/purchases")).body) == 1
    other = await start(ada, idempotencyKey="k", successUrl="https://app.example.com/elsewhere")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


async def test_what_is_bought_can_be_given_back(service: Service, double: Double, database: Database) -> None:
    ada = await service.new_session()
    started = await start(ada)
    double.pay(session_id(started))
    for delivery in list(double.held):
        double.deliver(delivery)
    path = f"/api/v1/credits/purchases/{started.body['purchaseId']}/refund"
    bob = await service.new_session()
    assert (await bob.post(path)).status == 404
    refunded = await ada.post(path)
    assert (refunded.status, refunded.body["status"], refunded.body["amountRefunded"]) == (200, "refunded", 100)
    assert await paid(ada) == 0
    assert (await ada.post(path)).body["code"] == "purchase_not_paid"
    assert database.query("select * from credits.verify_ledger()") == []


async def test_what_is_spent_cannot_be_given_back_by_its_buyer(service: Service, double: Double) -> None:
    ada = await service.new_session()
    started = await start(ada)
    path = f"/api/v1/credits/purchases/{started.body['purchaseId']}/refund"
    assert (await ada.post(path)).body["code"] == "purchase_not_paid"
    double.pay(session_id(started))
    for delivery in list(double.held):
        double.deliver(delivery)
    assert (await ada.use(200)).status == 200
    assert (await ada.post(path)).body["code"] == "refund_not_possible"


async def test_a_page_of_the_provider_has_the_invoices(service: Service, double: Double) -> None:
    ada = await service.new_session()
    assert (await ada.post("/api/v1/credits/portal")).status == 404
    await start(ada)
    assert (await ada.post("/api/v1/credits/portal")).body["url"].startswith(double.url)


@pytest.mark.parametrize(
    "fields",
    [
        {"packageId": "x"}, {"packageId": None}, {"successUrl": "no address"}, {"successUrl": "javascript://%0aalert(1)"},
        {"cancelUrl": "https://a b"}, {"currency": "EURO"}, {"currency": "usd"}, {"idempotencyKey": ""}, {"more": 1},
    ],
)  # fmt: skip
async def test_bad_input_starts_nothing(service: Service, fields: dict[str, Any]) -> None:
    ada = await service.new_session()
    reply = await start(ada, **fields)
    assert (reply.status, reply.body["code"]) == (400, "invalid_request"), reply.text
    assert (await ada.get("/api/v1/credits/purchases")).body == []


async def test_a_provider_that_is_away_costs_nothing(service: Service, double: Double) -> None:
    ada = await service.new_session()
    double.faults.append(Fault("POST", "/v1/checkout/sessions", "before", times=9))
    away = await start(ada, idempotencyKey="away")
    assert (away.status, away.body["code"]) == (503, "payments_unavailable")
    double.faults.clear()
    started = await start(ada, idempotencyKey="away")
    assert started.body["checkoutUrl"].startswith(double.url)
    assert len((await ada.get("/api/v1/credits/purchases")).body) == 1


async def test_news_of_ours_that_comes_before_its_purchase_comes_again(service: Service, database: Database) -> None:
    """The database transaction that opens the purchase may not be visible yet."""
    [(deployment,)] = database.query("select deployment from payments.settings")
    user = await service.new_session()
    marks = {"mana_deployment": str(deployment), "mana_user": user.user_id, "mana_purchase": str(uuid.uuid4())}
    event = {
        "id": "evt_early",
        "type": "checkout.session.completed",
        "created": int(time.time()),
        "data": {"object": {"id": "cs_early", "object": "checkout.session", "metadata": marks}},
    }
    early = await deliver(service, event)
    assert (early.status, early.body["code"]) == (503, "not_visible_yet")
    marks["mana_deployment"] = str(uuid.uuid4())
    assert (await deliver(service, event | {"id": "evt_foreign"})).status == 200


async def deliver(service: Service, event: dict[str, Any]) -> Reply:
    body = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(body, PAYMENTS["STRIPE_WEBHOOK_SECRET"])
    return await service.post(WEBHOOK, data=body.encode(), headers={"Stripe-Signature": signature})


@pytest.mark.parametrize("change", ["another secret", "another body", "an hour ago", "none", "garbage"])
async def test_news_of_somebody_else_is_refused(service: Service, change: str) -> None:
    body = b'{"id": "evt_x", "type": "charge.refunded", "created": 1, "data": {"object": {}}}'
    secret = "whsec_other" if change == "another secret" else PAYMENTS["STRIPE_WEBHOOK_SECRET"]
    at = int(time.time()) - (3600 if change == "an hour ago" else 0)
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    signature = {"none": "", "garbage": "t=,v1=x"}.get(change, signature)
    sent = body + b" " if change == "another body" else body
    reply = await service.post(WEBHOOK, data=sent, headers={"Stripe-Signature": signature})
    assert (reply.status, reply.body["code"]) == (400, "invalid_signature")


async def test_a_purchase_that_is_not_there(service: Service) -> None:
    ada = await service.new_session()
    for purchase in (uuid.uuid4(), "x", "1"):
        assert (await ada.get(f"{PURCHASE}/{purchase}")).status == 404
        assert (await service.get(f"{PURCHASE}/{purchase}/return?userId={ada.user_id}")).status == 404


async def test_without_a_key_nothing_is_sold_and_all_else_works(database: Database) -> None:
    with Gateway(database.gateway_url, dict.fromkeys(PAYMENTS, "")) as plain:
        async with Service(plain.url) as service:
            ada = await service.new_session()
            started = await start(ada)
            assert (started.status, started.body["code"]) == (503, "payments_not_configured")
            assert (await ada.use(1)).status == 200
            news = await service.post("/api/v1/webhooks/stripe", {})
            assert (news.status, news.body["code"]) == (503, "payments_not_configured")

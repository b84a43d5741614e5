"""What happens to money: payments, refunds, disputes, and what they leave on the account's balance."""

from __future__ import annotations

from typing import Any

from harness.stripe_double.state import FEE, SEPA_TAKES, ApiError, State, Thing

DECLINED = {
    "4000000000000002": "card_declined",
    "4000000000009995": "insufficient_funds",
    "4000000000000069": "expired_card",
}
NEEDS_APPROVAL = "4000002500003155"
DISPUTED_AT_ONCE = "4000000000000259"
REFUND_FAILS = "4000000000005126"
SEPA_FAILS = ("AT861904300235473202", "DE62370400440532013001")

GONE = {"succeeded", "pending", "requires_action"}  # refunds that count


def pay(state: State, session: Thing, *, card: str = "", iban: str = "", approved: bool = False) -> str:
    """Pay a session's page. Returns what the page says: paid, processing, approve, or why it was declined."""
    card, iban = card.replace(" ", ""), iban.replace(" ", "").upper()
    if session["status"] != "open":
        return "expired" if session["status"] == "expired" else "paid"
    if not session["amount_total"]:
        _complete(state, session, "no_payment_required")
        return "paid"
    intent = _intent_of(state, session)
    if card in DECLINED:
        intent["status"] = "requires_payment_method"
        _charge(state, intent, {"type": "card"}, paid=False, failure=DECLINED[card])
        state.emit("payment_intent.payment_failed", intent)
        return DECLINED[card]
    if card == NEEDS_APPROVAL and not approved:
        intent["status"] = "requires_action"
        return "approve"
    if iban:
        intent.update(status="processing", _iban=iban, _due=state.now() + SEPA_TAKES)
        _complete(state, session, "unpaid")
        state.emit("payment_intent.processing", intent)
        return "processing"
    succeed(state, intent, card=card)
    if card == DISPUTED_AT_ONCE:
        dispute(state, intent)
    return "paid"


def succeed(state: State, intent: Thing, *, card: str = "") -> None:
    """The money is there."""
    session = next(state.all("checkout.session", payment_intent=intent["id"]), None)
    intent.update(status="succeeded", amount_received=intent["amount"])
    charge = _charge(state, intent, {"type": "sepa_debit" if intent.get("_iban") else "card"}, paid=True)
    charge["_card"] = card
    charge["balance_transaction"] = _book(state, "charge", intent["amount"], charge["id"], intent["currency"])["id"]
    intent["latest_charge"] = charge["id"]
    state.emit("charge.succeeded", charge)
    state.emit("payment_intent.succeeded", intent)
    if session is None:
        return
    if session["status"] == "open":
        _complete(state, session, "paid")
    else:
        session["payment_status"] = "paid"
        state.emit("checkout.session.async_payment_succeeded", session)


def fail(state: State, intent: Thing) -> None:
    """The money of a debit does not come."""
    intent.update(status="requires_payment_method")
    state.emit("payment_intent.payment_failed", intent)
    for session in state.all("checkout.session", payment_intent=intent["id"]):
        state.emit("checkout.session.async_payment_failed", session)


def settle(state: State) -> None:
    """What is due by the clock happens: debits come or fail, pages expire."""
    now = state.now()
    for intent in list(state.all("payment_intent", status="processing")):
        if intent["_due"] <= now:
            if intent["_iban"] in SEPA_FAILS:
                fail(state, intent)
            else:
                succeed(state, intent)
    for session in list(state.all("checkout.session", status="open")):
        if session["expires_at"] <= now:
            expire(state, session)


def expire(state: State, session: Thing) -> None:
    session.update(status="expired", url=None)
    state.emit("checkout.session.expired", session)


def refund(state: State, intent: Thing, amount: int | None, reason: str | None, metadata: Thing) -> Thing:
    """Money goes back, never more than is left. Raises ApiError charge_already_refunded."""
    charge = _paid_charge(state, intent)
    left = charge["amount"] - charge["amount_refunded"]
    if charge["disputed"]:
        raise ApiError(400, "charge_disputed", "This charge has been charged back.")
    if left <= 0:
        raise ApiError(400, "charge_already_refunded", "The charge has already been refunded.")
    amount = left if amount is None else amount
    if not 0 < amount <= left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise ApiError(400, "amount_too_large", message, param="amount")
    made = state.make(
        "re", "refund", amount=amount, charge=charge["id"], payment_intent=intent["id"], currency=charge["currency"],
        reason=reason, metadata=metadata, status="succeeded", failure_reason=None,
        balance_transaction=_book(state, "refund", -amount, charge["id"], charge["currency"])["id"],
    )  # fmt: skip
    _count_refunds(state, charge)
    state.emit("refund.created", made)
    state.emit("charge.refunded", charge)
    if charge.get("_card") == REFUND_FAILS:
        fail_refund(state, made)
    return made


def fail_refund(state: State, refunded: Thing) -> None:
    """A refund that seemed good comes back: its money is with the account again."""
    if refunded["status"] == "failed":
        return
    refunded.update(status="failed", failure_reason="expired_or_canceled_card")
    _book(state, "refund_failure", refunded["amount"], refunded["charge"], refunded["currency"])
    charge = state.get(refunded["charge"], "charge")
    _count_refunds(state, charge)
    state.emit("refund.failed", refunded)
    state.emit("charge.refund.updated", refunded)


def dispute(state: State, intent: Thing, amount: int | None = None, status: str = "needs_response") -> Thing:
    """The person's bank takes the money back, or asks (an inquiry: ``warning_needs_response``)."""
    charge = _paid_charge(state, intent)
    made = state.make(
        "dp", "dispute", amount=charge["amount"] if amount is None else amount, charge=charge["id"],
        payment_intent=intent["id"], currency=charge["currency"], reason="fraudulent", status=status, metadata={},
        is_charge_refundable=status.startswith("warning"), balance_transactions=[], evidence={},
        evidence_details={"due_by": None, "has_evidence": False, "past_due": False, "submission_count": 0},
    )  # fmt: skip
    if not status.startswith("warning"):
        charge["disputed"] = True
        _book(state, "adjustment", -made["amount"], made["id"], charge["currency"])
    state.emit("charge.dispute.created", made)
    return made


def decide(state: State, disputed: Thing, status: str) -> None:
    """Close a dispute: won, lost, or warning_closed. A win gives the money back."""
    if status == "won":
        _book(state, "adjustment", disputed["amount"], disputed["id"], disputed["currency"])
    disputed["status"] = status
    charge = state.get(disputed["charge"], "charge")
    charge["disputed"] = any(d["status"] in {"needs_response", "under_review", "lost"}
                             for d in state.all("dispute", charge=charge["id"]))  # fmt: skip
    state.emit("charge.dispute.closed", disputed)


def _complete(state: State, session: Thing, payment_status: str) -> None:
    session.update(status="complete", payment_status=payment_status, url=None)
    state.emit("checkout.session.completed", session)


def _intent_of(state: State, session: Thing) -> Thing:
    """The intent of a page, made when somebody pays on it."""
    if not session["payment_intent"]:
        made = new_intent(
            state, session["amount_total"], session["currency"], session["customer"], session["_intent_metadata"]
        )
        session["payment_intent"] = made["id"]
    return state.get(session["payment_intent"], "payment_intent")


def new_intent(state: State, amount: int, currency: str, customer: str | None, metadata: Thing) -> Thing:
    made = state.make(
        "pi", "payment_intent", amount=amount, amount_received=0, currency=currency, customer=customer,
        metadata=dict(metadata), status="requires_payment_method", latest_charge=None, payment_method_types=["card"],
        capture_method="automatic", confirmation_method="automatic",
    )  # fmt: skip
    made["client_secret"] = f"{made['id']}_secret_double"
    state.emit("payment_intent.created", made)
    return made


def _charge(state: State, intent: Thing, details: Thing, *, paid: bool, failure: str | None = None) -> Thing:
    made = state.make(
        "ch", "charge", amount=intent["amount"], amount_captured=intent["amount"] if paid else 0, amount_refunded=0,
        currency=intent["currency"], customer=intent["customer"], payment_intent=intent["id"], paid=paid,
        captured=paid, refunded=False, disputed=False, status="succeeded" if paid else "failed",
        failure_code=failure, metadata=dict(intent["metadata"]), payment_method_details=details,
        balance_transaction=None, billing_details={},
    )  # fmt: skip
    made["receipt_url"] = f"https://pay.stripe.invalid/receipts/{made['id']}" if paid else None
    intent["latest_charge"] = made["id"]
    return made


def _paid_charge(state: State, intent: Thing) -> Thing:
    charge = next(state.all("charge", payment_intent=intent["id"], paid=True), None)
    if charge is None:
        raise ApiError(400, "payment_intent_unexpected_state", "This PaymentIntent has no successful charge.")
    return charge


def _count_refunds(state: State, charge: Thing) -> None:
    refunds = state.all("refund", charge=charge["id"])
    charge["amount_refunded"] = sum(refund["amount"] for refund in refunds if refund["status"] in GONE)
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _book(state: State, kind: str, amount: int, source: str, currency: str) -> Thing:
    """An entry on the account's balance, with the fee that a charge costs."""
    fee = amount * FEE[0] // 1000 + FEE[1] if kind == "charge" else 0
    extra: dict[str, Any] = {"type": kind, "reporting_category": kind, "exchange_rate": None, "fee_details": []}
    return state.make(
        "txn", "balance_transaction", amount=amount, fee=fee, net=amount - fee, currency=currency, source=source,
        status="available", available_on=state.now(), description=None, payout=None, **extra,
    )  # fmt: skip

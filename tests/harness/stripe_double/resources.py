"""The routes of the API: each gets the state, the parts of its path and what was sent."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeAlias

from harness.stripe_double import paying
from harness.stripe_double.forms import known, whole, yes
from harness.stripe_double.state import SESSION_OPEN_FOR, ApiError, State, Thing

Handler: TypeAlias = Callable[[State, dict[str, str], dict[str, Any]], Thing]

ROUTES: dict[tuple[str, str], Handler] = {}
MOST = 100  # objects of a page

# Objects that name another one, which `expand` puts in the name's place.
NAMED = {
    "payment_intent": "payment_intent", "latest_charge": "charge", "charge": "charge", "customer": "customer",
    "balance_transaction": "balance_transaction",
}  # fmt: skip


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES[method, path] = handler
        return handler

    return register


def listed(kind: str, *filters: str) -> Handler:
    """The handler that lists objects of a kind, newest first."""

    def handler(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
        known(given, f"limit starting_after ending_before created type types delivery_success {' '.join(filters)}")
        where = {name: given[name] for name in filters if name in given}
        found = [thing for thing in state.all(kind, **where) if _in_time(thing, given.get("created"))]
        if "type" in given:
            found = [thing for thing in found if thing["type"] == given["type"]]
        if "types" in given:
            found = [thing for thing in found if thing["type"] in given["types"]]
        if "delivery_success" in given:
            found = [thing for thing in found if thing["delivered"] == yes(given["delivery_success"])]
        ids = [thing["id"] for thing in found]
        if after := given.get("starting_after"):
            found = found[ids.index(after) + 1 :] if after in ids else []
        if before := given.get("ending_before"):
            found = found[: ids.index(before)] if before in ids else []
        limit = min(whole(given.get("limit", 10), "limit"), MOST)
        page = found[-limit:] if "ending_before" in given else found[:limit]
        return {"object": "list", "data": page, "has_more": len(found) > limit, "url": f"/v1/{kind}s"}

    return handler


def _in_time(thing: Thing, bounds: Any) -> bool:
    if bounds is None:
        return True
    if not isinstance(bounds, dict):
        return bool(thing["created"] == whole(bounds, "created"))
    compare: dict[str, Callable[[int, int], bool]] = {
        "gt": int.__gt__, "gte": int.__ge__, "lt": int.__lt__, "lte": int.__le__,
    }  # fmt: skip
    return all(compare[name](thing["created"], whole(value, "created")) for name, value in bounds.items())


def found(kind: str) -> Handler:
    """The handler that retrieves an object of a kind."""

    def handler(state: State, path: dict[str, str], given: dict[str, Any]) -> Thing:
        known(given, "")
        return state.get(path["id"], kind)

    return handler


for _kind, _path, _filters in (
    ("customer", "customers", ("email",)),
    ("checkout.session", "checkout/sessions", ("customer", "payment_intent", "status")),
    ("payment_intent", "payment_intents", ("customer",)),
    ("charge", "charges", ("customer", "payment_intent")),
    ("refund", "refunds", ("charge", "payment_intent")),
    ("dispute", "disputes", ("charge", "payment_intent")),
    ("balance_transaction", "balance_transactions", ("source", "payout")),
    ("payout", "payouts", ("status",)),
    ("event", "events", ()),
    ("webhook_endpoint", "webhook_endpoints", ()),
    ("product", "products", ("active",)),
    ("price", "prices", ("product", "active")),
):
    ROUTES["GET", f"/v1/{_path}"] = listed(_kind, *_filters)
    ROUTES["GET", f"/v1/{_path}/{{id}}"] = found(_kind)


@route("GET", "/v1/account")
def account(state: State, _: dict[str, str], __: dict[str, Any]) -> Thing:
    return {"id": "acct_double", "object": "account", "country": "DE", "default_currency": "eur",
            "charges_enabled": True, "payouts_enabled": True, "livemode": state.livemode}  # fmt: skip


@route("POST", "/v1/customers")
def make_customer(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "email name description")
    made = state.make(
        "cus", "customer", email=given.get("email"), name=given.get("name"), description=given.get("description"),
        metadata=given.get("metadata", {}), invoice_prefix="DOUBLE", balance=0,
    )  # fmt: skip
    state.emit("customer.created", made)
    return made


@route("POST", "/v1/products")
def make_product(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "description active", required="name")
    return state.make("prod", "product", name=given["name"], active=True, metadata=given.get("metadata", {}))


@route("POST", "/v1/prices")
def make_price(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "nickname active product_data", required="currency unit_amount product")
    state.get(given["product"], "product")
    return state.make(
        "price", "price", currency=given["currency"], unit_amount=whole(given["unit_amount"], "unit_amount"),
        product=given["product"], active=True, type="one_time", metadata=given.get("metadata", {}),
    )  # fmt: skip


@route("POST", "/v1/coupons")
def make_coupon(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "percent_off amount_off currency duration name id")
    return state.make(
        "cpn", "coupon", percent_off=float(given["percent_off"]) if "percent_off" in given else None,
        amount_off=whole(given["amount_off"], "amount_off") if "amount_off" in given else None,
        currency=given.get("currency"), duration=given.get("duration", "once"), valid=True, metadata={},
    )  # fmt: skip


@route("POST", "/v1/promotion_codes")
def make_promotion_code(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "active code", required="coupon")
    coupon = state.get(given["coupon"], "coupon")
    code = given.get("code") or secrets.token_hex(4).upper()
    return state.make("promo", "promotion_code", code=code, coupon=coupon, active=True, metadata={})


@route("POST", "/v1/checkout/sessions")
def make_session(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(
        given,
        "customer client_reference_id cancel_url allow_promotion_codes payment_intent_data expires_at"
        " invoice_creation locale payment_method_types",
        required="mode line_items success_url",
    )
    if given["mode"] != "payment":
        raise ApiError(400, "parameter_invalid", "The double sells once: mode must be payment.", param="mode")
    for name in ("success_url", "cancel_url"):
        if name in given and "://" not in given[name]:
            raise ApiError(400, "url_invalid", "Not a valid URL", param=name)
    if customer := given.get("customer"):
        state.get(customer, "customer")
    amounts = [_line(state, line) for line in given["line_items"]]
    [currency] = {currency for _, currency in amounts}
    subtotal = sum(amount for amount, _ in amounts)
    made = state.make(
        "cs_live" if state.livemode else "cs_test", "checkout.session", mode="payment", status="open",
        payment_status="unpaid", amount_subtotal=subtotal, amount_total=subtotal, currency=currency,
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        customer=customer, client_reference_id=given.get("client_reference_id"), metadata=given.get("metadata", {}),
        payment_intent=None, success_url=given["success_url"], cancel_url=given.get("cancel_url"),
        allow_promotion_codes=yes(given.get("allow_promotion_codes")), payment_method_types=["card", "sepa_debit"],
        expires_at=whole(given.get("expires_at", state.now() + SESSION_OPEN_FOR), "expires_at"),
        automatic_tax={"enabled": False, "status": None}, custom_fields=[], ui_mode="hosted",
        _intent_metadata=given.get("payment_intent_data", {}).get("metadata", {}),
        _title=_title(state, given["line_items"][0]),
    )  # fmt: skip
    made["url"] = f"/pay/{made['id']}"  # the server puts its own address before it
    return made


def _line(state: State, line: dict[str, Any]) -> tuple[int, str]:
    quantity = whole(line.get("quantity", 1), "quantity")
    if "price" in line:
        price = state.get(line["price"], "price")
        return price["unit_amount"] * quantity, price["currency"]
    data = line["price_data"]
    return whole(data["unit_amount"], "unit_amount") * quantity, data["currency"]


def _title(state: State, line: dict[str, Any]) -> str:
    if "price" in line:
        return str(state.get(state.get(line["price"], "price")["product"], "product")["name"])
    return str(line["price_data"]["product_data"]["name"])


@route("POST", "/v1/checkout/sessions/{id}/expire")
def expire_session(state: State, path: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "")
    session = state.get(path["id"], "checkout.session")
    if session["status"] != "open":
        raise ApiError(400, "resource_missing", "Only open sessions can be expired.")
    paying.expire(state, session)
    return session


@route("POST", "/v1/payment_intents")
def make_intent(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(
        given,
        "customer automatic_payment_methods payment_method confirm off_session description payment_method_types",
        required="amount currency",
    )
    made = paying.new_intent(
        state, whole(given["amount"], "amount"), given["currency"], given.get("customer"), given.get("metadata", {})
    )
    if yes(given.get("confirm")):
        paying.succeed(state, made)
    return made


@route("POST", "/v1/payment_intents/{id}/cancel")
def cancel_intent(state: State, path: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "cancellation_reason")
    intent = state.get(path["id"], "payment_intent")
    if intent["status"] in {"succeeded", "canceled", "processing"}:
        raise ApiError(400, "payment_intent_unexpected_state", "This PaymentIntent can no longer be canceled.")
    intent["status"] = "canceled"
    state.emit("payment_intent.canceled", intent)
    return intent


@route("POST", "/v1/refunds")
def make_refund(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "amount charge payment_intent reason")
    if "charge" in given:
        given["payment_intent"] = state.get(given["charge"], "charge")["payment_intent"]
    intent = state.get(given.get("payment_intent"), "payment_intent")
    amount = whole(given["amount"], "amount") if "amount" in given else None
    return paying.refund(state, intent, amount, given.get("reason"), given.get("metadata", {}))


@route("POST", "/v1/disputes/{id}/close")
def close_dispute(state: State, path: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "")
    disputed = state.get(path["id"], "dispute")
    paying.decide(state, disputed, "lost")
    return disputed


@route("POST", "/v1/webhook_endpoints")
def make_endpoint(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "api_version description connect", required="url enabled_events")
    made = state.make(
        "we", "webhook_endpoint", url=given["url"], enabled_events=given["enabled_events"], status="enabled",
        api_version=given.get("api_version"), description=given.get("description"),
        metadata=given.get("metadata", {}), application=None,
    )  # fmt: skip
    made["_secret"] = f"whsec_{secrets.token_hex(16)}"
    return {**made, "secret": made["_secret"]}  # told once


@route("POST", "/v1/webhook_endpoints/{id}")
def change_endpoint(state: State, path: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "url enabled_events disabled description")
    endpoint = state.get(path["id"], "webhook_endpoint")
    endpoint.update({name: given[name] for name in ("url", "enabled_events", "description") if name in given})
    if "disabled" in given:
        endpoint["status"] = "disabled" if yes(given["disabled"]) else "enabled"
    return endpoint


@route("DELETE", "/v1/webhook_endpoints/{id}")
def delete_endpoint(state: State, path: dict[str, str], _: dict[str, Any]) -> Thing:
    endpoint = state.get(path["id"], "webhook_endpoint")
    del state.objects[endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


@route("POST", "/v1/billing_portal/sessions")
def make_portal(state: State, _: dict[str, str], given: dict[str, Any]) -> Thing:
    known(given, "return_url configuration locale", required="customer")
    state.get(given["customer"], "customer")
    made = state.make(
        "bps", "billing_portal.session", customer=given["customer"], return_url=given.get("return_url"),
        configuration="bpc_double", locale=None,
    )  # fmt: skip
    made["url"] = f"/portal/{made['id']}"
    return made


def expanded(state: State, thing: Thing, wanted: list[str]) -> Thing:
    """The object with the objects in it that were asked for."""
    result = dict(thing)
    for path in wanted:
        name, _, rest = path.partition(".")
        if name == "data" and isinstance(result.get("data"), list):
            result["data"] = [expanded(state, item, [rest]) for item in result["data"]]
            continue
        inner = result.get(name)
        if isinstance(inner, str) and name in NAMED:
            inner = state.get(inner, NAMED[name])
        if isinstance(inner, dict):
            result[name] = expanded(state, inner, [rest] if rest else [])
    return result

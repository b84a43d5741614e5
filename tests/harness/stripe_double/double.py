"""The server: keys, idempotency, faults, the log of what was asked, and the hands of a test."""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar
from urllib.parse import parse_qsl

from aiohttp import BasicAuth, web

from harness.stripe_double import page, paying, resources
from harness.stripe_double.deliveries import Deliveries, Delivery
from harness.stripe_double.forms import nested
from harness.stripe_double.state import ApiError, State, Thing, shown

KEPT_FOR = 86_400  # seconds that an idempotency key is remembered
WHERE_TO = re.compile(r"\{CHECKOUT_SESSION_ID\}")

T = TypeVar("T")


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests of this method whose path begins so.

    ``after``: a 500 once the work is done. ``before``: a 500 without it. ``cut`` and ``cut_before``: the connection
    ends, with the work done or not. ``busy``: a 429. ``late``: the answer takes ``seconds``.
    """

    method: str
    path: str
    kind: Literal["after", "before", "cut", "cut_before", "busy", "late"]
    times: int = 1
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came. ``key`` is its idempotency key."""

    method: str
    path: str
    given: dict[str, Any]
    key: str


@dataclass
class _Kept:
    request: tuple[str, str, str]
    expires_at: int
    answer: tuple[int, Thing] | None = None  # None while it is being made


@dataclass(eq=False)
class Double:
    """A double in a thread of its own, between ``with`` and its end. Every method may be called from any thread."""

    port: int = 0
    livemode: bool = False
    state: State = field(init=False)
    deliveries: Deliveries = field(init=False)
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = State(livemode=self.livemode)
        self.deliveries = Deliveries(self.state)
        self.state.on_event = self.deliveries.take
        self._kept: dict[str, _Kept] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._up = threading.Event()
        self._stopped: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stopped:
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self.serve())
        self._loop.close()

    async def serve(self) -> None:
        """Serve until the end of the ``with`` block."""
        self._stopped = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/v1/{rest:.*}", self._api)
        app.router.add_get("/pay/{id}", self._show)
        app.router.add_post("/pay/{id}", self._pay)
        app.router.add_get("/portal/{id}", self._portal)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._up.set()
        await self._stopped.wait()
        await self.deliveries.stop()
        await runner.cleanup()

    # ------------------------------------------------------------ the hands of a test

    def do(self, work: Callable[[State], T]) -> T:
        """Run this on the state, where nothing else runs."""

        async def run() -> T:
            return work(self.state)

        return self.wait(run())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def endpoint(
        self, url: str, events: tuple[str, ...] = ("*",), api_version: str | None = None, secret: str = ""
    ) -> str:
        """A webhook endpoint; returns its secret."""
        made = self.do(
            lambda state: resources.make_endpoint(
                state, {}, {"url": url, "enabled_events": list(events), "api_version": api_version}
            )
        )
        if secret:
            self.do(lambda state: state.get(made["id"], "webhook_endpoint").update(_secret=secret))
        return secret or str(made["secret"])

    def pay(self, session_id: str, *, card: str = "4242424242424242", iban: str = "") -> str:
        """Pay as a person does on the page. Returns paid, processing, or why not."""
        return self.do(
            lambda state: paying.pay(
                state, state.get(session_id, "checkout.session"), card="" if iban else card, iban=iban, approved=True
            )
        )

    def intent_of(self, session_id: str) -> str:
        return str(self.state.get(session_id, "checkout.session")["payment_intent"])

    def refund(self, intent_id: str, amount: int | None = None) -> str:
        """Give money back from the dashboard; returns the refund's id."""
        made = self.do(lambda state: paying.refund(state, state.get(intent_id, "payment_intent"), amount, None, {}))
        return str(made["id"])

    def fail_refund(self, refund_id: str) -> None:
        self.do(lambda state: paying.fail_refund(state, state.get(refund_id, "refund")))

    def dispute(self, intent_id: str, amount: int | None = None, status: str = "needs_response") -> str:
        made = self.do(lambda state: paying.dispute(state, state.get(intent_id, "payment_intent"), amount, status))
        return str(made["id"])

    def decide(self, dispute_id: str, status: str) -> None:
        """Close a dispute: won, lost or warning_closed."""
        self.do(lambda state: paying.decide(state, state.get(dispute_id, "dispute"), status))

    def advance(self, seconds: int) -> None:
        """Move the clock on, and let happen what is due then."""

        def move(state: State) -> None:
            state.shift += seconds
            paying.settle(state)

        self.do(move)

    def deliver(self, delivery: Delivery, version: str = "") -> int:
        """Deliver one event; it may be delivered again. Returns the status."""
        return self.wait(self.deliveries.send(delivery, version))

    def hold(self, hold: bool = True) -> None:
        """Keep new deliveries in ``held`` instead of sending them."""
        self.deliveries.hold = hold

    @property
    def held(self) -> list[Delivery]:
        return self.deliveries.held

    # ------------------------------------------------------------ the API

    async def _api(self, request: web.Request) -> web.StreamResponse:
        request_id = f"req_{secrets.token_hex(8)}"
        try:
            self._authenticate(request)
            status, body, replayed = await self._answer(request)
        except ApiError as error:
            status, body, replayed = error.status, error.body(), False
        except _Cut:
            assert request.transport
            request.transport.abort()
            return web.Response()
        headers = {"Request-Id": request_id, "Stripe-Version": request.headers.get("Stripe-Version", "")}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return web.json_response(body, status=status, headers=headers)

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        key = given.removeprefix("Bearer ")
        if given.startswith("Basic "):
            key = BasicAuth.decode(given).login
        live = "_live_" in key
        if not re.fullmatch(r"double|[sr]k_(?:test|live)_\w+", key) or live != self.livemode:
            raise ApiError(401, "api_key_invalid", "Invalid API Key provided")

    async def _answer(self, request: web.Request) -> tuple[int, Thing, bool]:
        text = await request.text() if request.method == "POST" else request.query_string
        key = request.headers.get("Idempotency-Key", "")
        given = nested(parse_qsl(text, keep_blank_values=True))
        self.asked.append(Asked(request.method, request.path, given, key))
        fault = self._fault(request)
        if fault and fault.kind in {"before", "busy", "cut_before"}:
            return _break(fault)
        replayed = False
        if key and request.method == "POST":
            status, body, replayed = self._once(key, (request.method, request.path, text), request, given)
        else:
            status, body = self._handle(request, given)
        if fault and fault.kind == "late":
            await asyncio.sleep(fault.seconds)
        elif fault:
            return _break(fault)
        return status, body, replayed

    def _once(
        self, key: str, sent: tuple[str, str, str], request: web.Request, given: dict[str, Any]
    ) -> tuple[int, Thing, bool]:
        kept = self._kept.get(key)
        if kept and kept.expires_at > self.state.now():
            if kept.request != sent:
                message = "Keys for idempotent requests can only be used with the same parameters."
                raise ApiError(400, "idempotency_key_in_use", message, kind="idempotency_error")
            if kept.answer:
                return (*kept.answer, True)
        status, body = self._handle(request, given)
        self._kept[key] = _Kept(sent, self.state.now() + KEPT_FOR, (status, body))
        return status, body, False

    def _handle(self, request: web.Request, given: dict[str, Any]) -> tuple[int, Thing]:
        handler, path = _route(request.method, request.path)
        wanted = given.pop("expand", [])
        answered = resources.expanded(self.state, handler(self.state, path, given), wanted)
        return 200, self._public(answered)

    def _public(self, thing: Any) -> Any:
        """The object as it goes out: addresses of pages are ours, and nothing that only the double knows."""
        if isinstance(thing, list):
            return [self._public(item) for item in thing]
        if not isinstance(thing, dict):
            return thing
        result = {name: self._public(value) for name, value in shown(thing).items()}
        if str(result.get("url", "")).startswith(("/pay/", "/portal/")):
            result["url"] = self.url + result["url"]
        return result

    def _fault(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == request.method and request.path.startswith(fault.path):
                fault.times -= 1
                return fault
        return None

    # ------------------------------------------------------------ the page

    async def _show(self, request: web.Request) -> web.Response:
        session = self.state.objects.get(request.match_info["id"])
        if not session:
            return _html(page.over("There is no such page."), 404)
        if session["status"] != "open":
            return _html(page.over(f"This page is {session['status']}."))
        return _html(page.checkout(session))

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        session = self.state.get(request.match_info["id"], "checkout.session")
        form = {name: str(value) for name, value in (await request.post()).items()}
        if form.get("way") == "code":
            return _html(page.checkout(session, _apply(self.state, session, form.get("code", ""))))
        outcome = paying.pay(
            self.state, session, card=form.get("card", ""), iban=form.get("iban", ""), approved=form["way"] == "approve"
        )
        if outcome == "approve":
            return _html(page.approval(form["card"]))
        if outcome in {"paid", "processing"}:
            raise web.HTTPSeeOther(WHERE_TO.sub(session["id"], session["success_url"]))
        return _html(page.checkout(session, f"Your payment was not accepted: {outcome.replace('_', ' ')}."))

    async def _portal(self, request: web.Request) -> web.Response:
        portal = self.state.get(request.match_info["id"], "billing_portal.session")
        body = f'<h1>Your invoices</h1><p><a href="{portal["return_url"]}">Back</a></p>'
        return _html(page.page("Billing (test)", body))


class _Cut(Exception):
    """The connection ends without an answer."""


def _break(fault: Fault) -> tuple[int, Thing, bool]:
    if fault.kind in {"cut", "cut_before"}:
        raise _Cut
    if fault.kind == "busy":
        raise ApiError(429, "rate_limit", "Too many requests", kind="rate_limit_error")
    raise ApiError(500, "api_error", "An unknown error occurred", kind="api_error")


def _route(method: str, path: str) -> tuple[resources.Handler, dict[str, str]]:
    for (wanted, pattern), handler in resources.ROUTES.items():
        match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern), path)
        if wanted == method and match:
            return handler, match.groupdict()
    raise ApiError(404, "url_invalid", f"Unrecognized request URL ({method}: {path}).")


def _apply(state: State, session: Thing, code: str) -> str:
    """Use a promotion code; returns what to tell the person."""
    found = next(state.all("promotion_code", code=code.strip(), active=True), None)
    if not found:
        return "This code is not valid."
    coupon = found["coupon"]
    off = coupon["amount_off"] or round(session["amount_subtotal"] * (coupon["percent_off"] or 0) / 100)
    session["amount_total"] = max(0, session["amount_subtotal"] - off)
    session["total_details"]["amount_discount"] = session["amount_subtotal"] - session["amount_total"]
    return "The code has been applied."


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status)

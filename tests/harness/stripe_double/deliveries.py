"""Events on their way to webhook endpoints: at once, or held until a test delivers them in an order of its own."""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import dataclass, field

import aiohttp
import stripe

from harness.stripe_double.state import State, Thing, shown

RETRIED_AFTER = (0.2, 1.0, 3.0)  # seconds; Stripe takes minutes and hours


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint."""

    event: Thing
    endpoint: Thing


@dataclass(eq=False)
class Deliveries:
    """What goes to the endpoints. While ``hold`` is true it waits in ``held``."""

    state: State
    hold: bool = False
    held: list[Delivery] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, event: Thing) -> None:
        """Send a new event to each endpoint that wants it, or keep it."""
        for endpoint in list(self.state.all("webhook_endpoint", status="enabled")):
            if not {"*", event["type"]} & set(endpoint["enabled_events"]):
                continue
            event["pending_webhooks"] += 1
            delivery = Delivery(event, endpoint)
            if self.hold:
                self.held.append(delivery)
                continue
            task = asyncio.get_running_loop().create_task(self._insist(delivery))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _insist(self, delivery: Delivery) -> None:
        for pause in (*RETRIED_AFTER, None):
            if await self.send(delivery) < 300 or pause is None:
                return
            await asyncio.sleep(pause)

    async def send(self, delivery: Delivery, version: str = "") -> int:
        """Deliver once; returns the status, 599 for no answer."""
        event = copy.deepcopy(shown(delivery.event))
        version = version or delivery.endpoint.get("api_version") or ""
        if version:
            event["api_version"] = version
        body = json.dumps(event, indent=2)
        signature = stripe.WebhookSignature.generate_signature_header(body, delivery.endpoint["_secret"])
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json; charset=utf-8"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.post(delivery.endpoint["url"], data=body.encode(), headers=headers) as response,
            ):
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            return 599
        if status < 300:
            delivery.event.update(delivered=True, pending_webhooks=max(0, delivery.event["pending_webhooks"] - 1))
        return status

    async def stop(self) -> None:
        """Give up what is on its way."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

"""Implementations of the steps that routes name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from gateway.api import steps
from gateway.database.calls import Reply
from gateway.http.services import Services
from gateway.http.steps import purchases, sessions, spending, transactions, users
from gateway.settings.serving import Settings

# Changes the parameters of the call, by name.
BeforeStep: TypeAlias = Callable[[dict[str, Any], Settings], None]
# Returns the reply that goes on, to the next step or to the client.
AfterStep: TypeAlias = Callable[[Reply, web.Request, msgspec.Struct | None, Services], Reply]
# The same, after asking outside; gets the function that makes the second call.
OutsideStep: TypeAlias = Callable[[Reply, msgspec.Struct | None, Services, purchases.WriteDown], Awaitable[Reply]]

BEFORE: dict[steps.Before, BeforeStep] = {
    steps.check_address: users.check_address,
    steps.digest_password: users.digest_password,
    steps.digest_new_password: users.digest_new_password,
    steps.set_refresh_ttl: sessions.set_refresh_ttl,
    steps.require_payments: purchases.require_payments,
}
AFTER: dict[steps.After, AfterStep] = {
    steps.sign_access_token: sessions.sign_access_token,
    steps.link_next_page: transactions.link_next_page,
    steps.count_spent: spending.count_spent,
}
OUTSIDE: Mapping[steps.Outside, OutsideStep] = {
    steps.open_checkout: purchases.open_checkout,
    steps.look_at_purchase: purchases.look_at_purchase,
    steps.return_to_app: purchases.return_to_app,
    steps.refund_purchase: purchases.refund_purchase,
    steps.open_portal: purchases.open_portal,
}

"""Implementations of the steps that routes name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from aiohttp import web

from gateway.api import steps
from gateway.api.fields import Request
from gateway.database.calls import Reply
from gateway.http.services import Services
from gateway.http.steps import sessions, spending, transactions, users
from gateway.settings.serving import Settings

# Changes the parameters of the call, by name.
BeforeStep: TypeAlias = Callable[[dict[str, Any], Settings], None]
# Returns the reply that goes on, to the next step or to the client.
AfterStep: TypeAlias = Callable[[Reply, web.Request, Request | None, Services], Reply]

BEFORE: dict[steps.Before, BeforeStep] = {
    steps.check_address: users.check_address,
    steps.digest_password: users.digest_password,
    steps.digest_new_password: users.digest_new_password,
    steps.set_refresh_ttl: sessions.set_refresh_ttl,
}
AFTER: dict[steps.After, AfterStep] = {
    steps.sign_access_token: sessions.sign_access_token,
    steps.link_next_page: transactions.link_next_page,
    steps.count_spent: spending.count_spent,
}

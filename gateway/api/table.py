"""The whole API as data. The aiohttp routes, the SQL, the OpenAPI document and the test that all of
them agree are made from this table."""

from __future__ import annotations

from gateway.api import balances, packages, purchases, sessions, spending, transactions, users

TOPICS = {
    "users": users.ROUTES,
    "sessions": sessions.ROUTES,
    "balances": balances.ROUTES,
    "spending": spending.ROUTES,
    "transactions": transactions.ROUTES,
    "purchases": purchases.ROUTES,
    "packages": packages.ROUTES,
}
ROUTES = tuple(route for routes in TOPICS.values() for route in routes)

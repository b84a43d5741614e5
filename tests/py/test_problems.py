"""Problems: the list of codes, each with its status, and what the database raises is in it."""

from __future__ import annotations

import json
import re

import pytest

from gateway.http import responses
from gateway.problems import CODES
from harness.places import ROOT

STATUSES = {
    400: {"invalid_signature", "invalid_request", "weak_password"},
    401: {
        "authentication_required", "invalid_token", "token_expired", "session_ended", "account_disabled",
        "role_changed", "invalid_credentials", "invalid_refresh_token",
    },
    402: {"insufficient_credits"},
    403: {"app_not_allowed", "approval_required", "origin_not_allowed"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    408: {"request_timeout"},
    409: {
        "email_taken", "purchase_not_paid", "purchases_blocked", "refund_not_possible", "reversal_exceeds_spend",
        "version_conflict",
    },
    413: {"payload_too_large"},
    415: {"unsupported_media_type"},
    422: {"idempotency_key_reused"},
    429: {"too_many_requests"},
    500: {"internal_error"},
    503: {"not_visible_yet", "payments_not_configured", "payments_unavailable", "service_unavailable"},
}  # fmt: skip


def test_each_code_has_its_status() -> None:
    assert {code: status for code, (status, *_) in CODES.items()} == {
        code: status for status, codes in STATUSES.items() for code in codes
    }


def test_what_the_database_raises_has_the_status_of_its_sqlstate() -> None:
    raised = [
        found
        for path in (ROOT / "sql" / "functions").rglob("*.sql")
        for found in re.findall(r"raise sqlstate 'PT(\d+)' using\s+message = '(\w+)'", path.read_text())
    ]
    listed = (ROOT / "sql/functions/base/refusals/refusal.sql").read_text()
    raised += [(status, code) for code, status in re.findall(r"\('(\w+)', +(\d{3}), ", listed)]
    assert len(raised) > 20
    assert [found for found in raised if CODES[found[1]][0] != int(found[0])] == []


@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_request"), (499, "invalid_request"), (500, "internal_error")]
)
def test_what_is_no_request_at_all_has_a_code_by_whose_fault_it_is(status: int, code: str) -> None:
    body = responses.refusal(status).body
    assert isinstance(body, bytes)
    assert json.loads(body)["code"] == code

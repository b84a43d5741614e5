"""The parts of every response: problems in one form, security headers, a request id, a log line, metrics."""

from __future__ import annotations

import re
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from gateway.http.counters import Verdict
from gateway.http.cross_origin import ORIGINS, preflight
from gateway.http.services import SERVICES
from gateway.problems import Problem

Response = TypeVar("Response", bound=web.StreamResponse)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
REQUEST_ID = web.RequestKey("request_id", str)
VERDICT = web.RequestKey("verdict", Verdict)

_log = structlog.get_logger()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

# The defaults of Helmet, with a content policy for responses that are data.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
    "Server": "mana",
    "Cache-Control": "no-store",
    "Vary": "Origin",
}

NO_HTTP = Problem("invalid_request", "This is not a valid HTTP request.")
_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
}


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Runs the handler and turns any error into a response of ours."""
    started = time.perf_counter()
    _name(request)
    try:
        response = preflight(request) or await handler(request)
    except Exception as error:
        return error_response(request, error, started)
    return _complete(request, response, started)


def error_response(request: web.Request, error: Exception, started: float) -> web.Response:
    """The response to a request that ends with an error, whether or not the application has seen it."""
    if REQUEST_ID not in request:
        _name(request)
    problem = _as_problem(error, request[REQUEST_ID])
    response = _problem_response(problem, request[REQUEST_ID], request.path)
    return _complete(request, response, started, problem.code)


def _name(request: web.Request) -> None:
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _complete(request: web.Request, response: Response, started: float, code: str | None = None) -> Response:
    _add_headers(response, request)
    _record(request, response, time.perf_counter() - started, code)
    return response


def _add_headers(response: web.StreamResponse, request: web.Request) -> None:
    headers = response.headers
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers["X-Request-Id"] = request[REQUEST_ID]
    headers.update(request.app[ORIGINS].headers(request))
    verdict = request.get(VERDICT)
    if verdict:
        for name, value in verdict.headers.items():
            headers.setdefault(name, value)  # an account that has run out shows its own


def _record(request: web.Request, response: web.StreamResponse, seconds: float, code: str | None) -> None:
    resource = request.match_info.route.resource
    # The route, not the path: a path or a query may hold personal data.
    route = (resource.canonical.rstrip("/") or "/") if resource else "none"
    metrics = request.app[SERVICES].metrics
    metrics.answered(route, request.method if resource else "other", response.status, seconds)
    if code:
        metrics.problems.labels(code).inc()
    _log.info(
        "request",
        method=request.method,
        route=route,
        status=response.status,
        code=code,
        ms=round(seconds * 1000, 1),
        request_id=request[REQUEST_ID],
    )


def _as_problem(error: Exception, request_id: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, web.HTTPClientError):
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return Problem(_HTTP_CODES.get(error.status, "invalid_request"), f"{error.reason}.", headers=allowed)
    # No message and no local variables: either may hold what a client sent.
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    _log.error("unexpected", kind=type(error).__name__, where=where, request_id=request_id)
    return Problem("internal_error", "Something went wrong here. It has been logged.")


def problem_document(problem: Problem, request_id: str, path: str, moment: datetime) -> dict[str, object]:
    """The body of an error."""
    document: dict[str, object] = {
        "type": f"urn:mana:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "error": problem.error,
        "detail": problem.detail,
        "instance": f"urn:request:{request_id}",
        "statusCode": problem.status,
        "message": problem.detail,
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "path": path,
    }
    if problem.errors:
        document["errors"] = problem.errors
    if problem.details:
        document["details"] = problem.details
    if problem.retry_after is not None:
        document["retryAfterSec"] = problem.retry_after
    return document


def _problem_response(problem: Problem, request_id: str, path: str) -> web.Response:
    document = problem_document(problem, request_id, path, datetime.now(UTC))
    headers = dict(problem.headers)
    if problem.status == 401:
        headers["WWW-Authenticate"] = _challenge(problem.code)
    return web.Response(
        body=msgspec.json.encode(document), status=problem.status, content_type=PROBLEM_JSON, headers=headers
    )


def _challenge(code: str) -> str:
    """RFC 6750, section 3: no error code for a request without a token."""
    if code in {"authentication_required", "invalid_credentials"}:
        return "Bearer"
    return 'Bearer error="invalid_token"'


def refusal(status: int) -> web.Response:
    """The response to bytes that are not an HTTP request. It quotes nothing of them."""
    code = _HTTP_CODES.get(status, "invalid_request" if status < 500 else "internal_error")
    request_id = secrets.token_hex(16)
    response = _problem_response(Problem(code, NO_HTTP.detail), request_id, "")
    response.headers.update(_HEADERS | {"X-Request-Id": request_id})
    return response

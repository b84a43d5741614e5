"""From bytes to checked values. Bad input names its field and changes nothing."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

import msgspec
from multidict import MultiMapping

from gateway.api.fields import Request
from gateway.problems import MAX_ERRORS, FieldError, Problem, invalid_request

MAX_DEPTH = 32
MAX_SHOWN = 100  # characters of a client's text that an error repeats
MAX_NUMBER = Decimal(sys.float_info.max)
MAX_DECIMALS = 4096  # digits after the point; PostgreSQL fails at 16,384
MAX_WHOLE = 2**63 - 1

_WHOLE = re.compile(r"(-?)0*(\d+)", re.ASCII)


class _DuplicateKeyError(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Form:
    """What is known of a model before any request."""

    model: type[Request]
    names: frozenset[str]
    numbers: frozenset[str]  # fields that are whole numbers, which in a query are texts like all others
    may_be_empty: frozenset[str]  # optional texts without a least length
    objects: Mapping[str, str]  # fields that are JSON objects, and their names in JSON


def form_of(model: type[Request]) -> Form:
    """The form of a model."""
    fields = msgspec.structs.fields(model)
    return Form(
        model,
        names=frozenset(field.encode_name for field in fields),
        numbers=frozenset(field.encode_name for field in fields if isinstance(field.default, int)),
        may_be_empty=frozenset(field.encode_name for field in fields if field.default is None and _takes(field, "")),
        objects={field.name: field.encode_name for field in fields if _takes(field, {})},
    )


def _takes(field: msgspec.structs.FieldInfo, value: object) -> bool:
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        return False
    return True


def parse_body(raw: bytes, form: Form, from_header: Mapping[str, str]) -> Request:
    """A JSON object as its model. Raises Problem invalid_request with each wrong field.

    ``from_header`` has fields that came in a header; the body may repeat them, but not contradict them.
    """
    try:
        fields = _DECODER.decode(raw.decode())
    except _DuplicateKeyError as error:
        raise invalid_request(FieldError(str(error), "appears twice")) from error
    except RecursionError as error:
        raise invalid_request(FieldError("body", "is nested too deeply")) from error
    except ValueError as error:
        raise invalid_request(FieldError("body", "is not valid JSON in UTF-8")) from error
    if not isinstance(fields, dict):
        raise invalid_request(FieldError("body", "must be a JSON object"))
    for name, value in from_header.items():
        if fields.get(name) is None:
            fields[name] = value
        elif fields[name] != value:
            raise invalid_request(FieldError(name, "is not what the header says"))
    for name in form.may_be_empty & fields.keys():
        if isinstance(fields[name], str) and not fields[name].strip():
            del fields[name]
    return _as_written(_convert(fields, form.model, strict=True), form.objects, raw)


def _as_written(request: Request, objects: Mapping[str, str], raw: bytes) -> Request:
    """The request with the JSON text of each object in it: the database reads numbers that Python would round."""
    objects = {name: sent for name, sent in objects.items() if getattr(request, name) is not None}
    if not objects:
        return request
    written = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return msgspec.structs.replace(request, **{name: written[sent] for name, sent in objects.items()})


def parse_query(query: MultiMapping[str], form: Form) -> Request:
    """A query as its model. Raises Problem invalid_request with each wrong field.

    Parameters that are not known are ignored, and those that are empty count as left out.
    """
    given = [(name, value) for name, value in query.items() if name in form.names and value]
    twice = sorted(name for name, times in Counter(name for name, _ in given).items() if times > 1)
    if twice:
        raise invalid_request(*(FieldError(name, "appears twice") for name in twice))
    fields = {name: _whole(value) if name in form.numbers else value for name, value in given}
    return _convert(fields, form.model, strict=True)


def _whole(text: str) -> int | str:
    """A number of a query, however long it is: one beyond 64 bits counts as MAX_WHOLE. Another text stays one."""
    found = _WHOLE.fullmatch(text)
    if not found:
        return text
    sign, digits = found.groups()
    size = MAX_WHOLE if len(digits) > len(str(MAX_WHOLE)) else min(int(digits), MAX_WHOLE)
    return -size if sign else size


def _convert(fields: Mapping[str, Any], model: type[Request], *, strict: bool) -> Request:
    unsafe = (error for name, value in fields.items() for error in _unsafe(name, value, 1))
    if found := list(islice(unsafe, MAX_ERRORS)):
        raise invalid_request(*found)
    fields = {name: float(value) if isinstance(value, Decimal) else value for name, value in fields.items()}
    try:
        request = msgspec.convert(fields, model, strict=strict)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter: a name with half a surrogate pair
        # msgspec stops at the first error; the client needs all of them.
        raise _every_error(fields, model, strict) from error
    return _apply_rules(request)


def _every_error(fields: Mapping[str, Any], model: type[Request], strict: bool) -> Problem:
    errors = []
    known = {field.encode_name: field for field in msgspec.structs.fields(model)}
    for name, field in known.items():
        if name not in fields:
            if field.required:
                errors.append(FieldError(name, "is required"))
            continue
        try:
            msgspec.convert(fields[name], field.type, strict=strict)
        except msgspec.ValidationError as error:
            errors.append(FieldError(name, _sentence(str(error))))
    errors += [FieldError(fit_to_store(name), "is not known here") for name in fields if name not in known]
    return invalid_request(*errors)


def _sentence(message: str) -> str:
    """The library's message without its path, in the style of our own."""
    text = message.partition(" - at ")[0].replace("`", "")
    return text[:1].lower() + text[1:]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _DuplicateKeyError(fit_to_store(name))
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unsafe(path: str, value: Any, depth: int) -> Iterator[FieldError]:
    """Each part of a value that JSON can express and PostgreSQL cannot store."""
    if depth > MAX_DEPTH:
        yield FieldError(fit_to_store(path.partition(".")[0]), f"is nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, str):
        if not _fits(value):
            yield FieldError(fit_to_store(path), "has a character that is not allowed (NUL or half a surrogate pair)")
    elif isinstance(value, dict):
        for name, item in value.items():
            if not _fits(name):
                yield FieldError(fit_to_store(path), "has a name with a character that is not allowed")
            else:
                yield from _unsafe(f"{path[:MAX_SHOWN]}.{name}", item, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unsafe(f"{path[:MAX_SHOWN]}.{index}", item, depth + 1)
    elif isinstance(value, Decimal) and not _in_range(value):
        yield FieldError(fit_to_store(path), "is a number out of range")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that no machine reads
        return Decimal("Infinity")


def _in_range(value: Decimal) -> bool:
    if not value.is_finite():
        return False
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MAX_DECIMALS and abs(value) <= MAX_NUMBER


# Made once: json.loads() makes a scanner for each text that it reads with arguments such as these.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_number)


def _fits(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    return fit_to_store(text, length=len(text)) == text


def fit_to_store(text: str, length: int = MAX_SHOWN) -> str:
    """The text in a form that PostgreSQL can store: no NUL, no lone surrogates, at most ``length`` characters."""
    return text[:length].replace("\0", "\ufffd").encode(errors="replace").decode()


def _apply_rules(request: Request) -> Request:
    rules = request.rules
    if not rules:
        return request
    changed: dict[str, Any] = {}
    errors = []
    for name, rule in rules.items():
        try:
            changed[name] = rule(getattr(request, name))
        except ValueError as error:
            errors.append(FieldError(name, str(error)))
    if errors:
        raise invalid_request(*errors)
    return msgspec.structs.replace(request, **changed)

"""Each step that routes can name stands for something, and some route names it."""

from __future__ import annotations

from gateway.api import steps as names
from gateway.api.table import ROUTES
from gateway.http import steps

DECLARED = {value for value in vars(names).values() if isinstance(value, names.Before | names.After)}


def test_each_step_that_is_declared_is_implemented() -> None:
    assert {*steps.BEFORE, *steps.AFTER} == DECLARED


def test_each_step_that_is_declared_is_used() -> None:
    assert {step for route in ROUTES for step in (*route.before, *route.after)} == DECLARED

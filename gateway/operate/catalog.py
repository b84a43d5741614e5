"""What a database holds against what the files make, by object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

SHOWN = 20  # differences

Catalog: TypeAlias = Mapping[tuple[str, str], str | None]  # (object, facet) -> value, as deploy/catalog.sql returns it


def differences(found: Catalog, wanted: Catalog, *, left_routines: bool) -> list[str]:
    """One line a difference. Indexes that only make something faster are an operator's own affair.

    ``left_routines``: routines that no file has may be there, because a release before still uses them.
    """
    lines = []
    known, there = {label for label, _ in wanted}, {label for label, _ in found}
    for label in sorted(there - known):
        faster = (found.get((label, "definition")) or "").startswith("CREATE INDEX ")
        if not faster and not (left_routines and label.startswith("routine ")):
            lines.append(f"{label}: no file has it")
    lines += [f"{label}: is missing" for label in sorted(known - there)]
    for (label, facet), value in sorted(wanted.items()):
        if label in there and found.get((label, facet)) != value:
            is_, must = found.get((label, facet)), value
            if facet == "definition" and not label.startswith(("constraint", "index", "policy")):
                lines.append(f"{label}: is defined differently")
            else:
                lines.append(f"{label}: {facet} must be ({must or ''}), and is ({is_ or ''})")
    return lines


def text(lines: list[str]) -> str:
    """The differences, for an operator."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join(["the database differs from its files:", *lines[:SHOWN], *more])

"""Draws the figures as one SVG, legible on a light and on a dark background."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from html import escape
from typing import Any

NAMES = {
    "balance": "GET /credits/balance", "use": "POST /credits/use", "page": "GET /credits/transactions",
    "deep_page": "the same, 10,000 deep", "validate": "POST /auth/validate", "refresh": "POST /auth/refresh",
    "login": "POST /auth/login",
}  # fmt: skip
WIDTH, LEFT, RIGHT = 860, 190, 150
BAR, GAP, TOP, BOTTOM = 16, 18, 64, 34

# In dark mode text and background swap their colours; the bars stay visible on both.
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .ground { fill: #ffffff } .title { font-size: 16px; font-weight: 600 } .small { font-size: 12px; fill: #57606a }
  .c0 { fill: #8b949e } .c1 { fill: #4a90d9 } .c2 { fill: #2a9d6f } .c3 { fill: #c9822b }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9ea7b3 } .ground { fill: #0d1117 } }
"""


def draw(figures: Mapping[str, Any]) -> str:
    """Draw the part ``http`` of the figures: a group of bars for each kind of work, one bar a side."""
    sides = {workers: found for workers, found in figures.get("http", {}).items() if workers.isdigit()}
    names = ["PostgreSQL alone", *(f"HTTP, {n} worker{'s' * (n != '1')}" for n in sides)]
    groups = [(NAMES[kind], _bars(sides, kind)) for kind in NAMES if any(kind in found for found in sides.values())]
    most = max((rate for _, bars in groups for _, rate, _ in bars), default=1.0)

    parts = []
    y = TOP
    for title, bars in groups:
        middle = y + len(bars) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 12}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>')
        for number, rate, ratio in bars:
            width = max(1.0, rate / most * (WIDTH - LEFT - RIGHT))
            label = f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
            parts.append(f'<rect class="c{number}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" rx="2"/>')
            parts.append(f'<text class="small" x="{LEFT + width + 6:.1f}" y="{y + BAR - 4}">{label}{ratio}</text>')
            y += BAR
        y += GAP
    height = y - GAP + BOTTOM

    legend = []
    for index, name in enumerate(names):
        x = LEFT + index * 170
        legend.append(f'<rect class="c{index}" x="{x}" y="38" width="12" height="12" rx="2"/>')
        legend.append(f'<text class="small" x="{x + 18}" y="48">{escape(name)}</text>')
    machine = figures["machine"]
    note = (
        f"{machine['cores']} cores run everything, load included; {machine['connections']} connections;"
        f" medians of {machine['rounds']} rounds of {machine['seconds']} s;"
        " in brackets: to PostgreSQL alone in the same run"
    )
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">',
        "<title>Requests a second, by PostgreSQL alone and over HTTP</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        '<text class="title" x="16" y="24">Requests a second</text>',
        *legend, *parts,
        f'<text class="small" x="16" y="{height - 12}">{escape(note)}</text>',
        "</svg>", "",
    ])  # fmt: skip


def _bars(sides: Mapping[str, Any], kind: str) -> list[tuple[int, float, str]]:
    """Number, rate and ratio of each bar: first the direct rate over all runs, then HTTP by side."""
    bars = []
    direct = [rate for found in sides.values() for rate in found.get(kind, {}).get("direct", ())]
    if direct:
        bars.append((0, statistics.median(direct), ""))
    for number, found in enumerate(sides.values(), 1):
        if kind in found:
            rate = statistics.median(found[kind]["http"])
            beside = found[kind]["direct"]  # from the same run, as in the table
            bars.append((number, rate, f" ({rate / statistics.median(beside):.2f})" if beside else ""))
    return bars

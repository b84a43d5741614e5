"""redocly finds no fault in the OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path

from clients.tools import node_tool
from gateway.http.docs.document import document


def test_the_document_follows_the_recommended_rules(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_bytes(document())
    # Warnings do not fail it. The only one is that the service names no licence: it has none.
    found = json.loads(node_tool("redocly", "lint", "--extends", "recommended", "--format", "json", path))
    assert found["totals"] == {"errors": 0, "warnings": 1, "ignored": 0}, found["problems"]
    assert found["problems"][0]["ruleId"] == "info-license"

"""Requests that schemathesis generates from the service's own OpenAPI description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.fuzz_cases import cases
from support.servers.http_service import Scripted, served

from mercury_lsp.http.backend import Update
from mercury_lsp.http.settings import ServiceSettings

EXAMPLES = cases(20)
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize("tokens", [{}, {"sesame": "ann"}])
def test_every_request_has_an_answer_that_the_description_allows(
    tokens: dict[str, str], tmp_path: Path
) -> None:
    backend = Scripted(Update("a", 1), Update("ab", 2, "stop", 10, 4, 2, 1))
    settings = ServiceSettings(tokens=tokens, body_bytes=10_000)
    with served(backend, settings) as client:
        command = [
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "run",
                f"{client.base_url}/openapi.json",
                "--no-color",
            ),
            *(
                "--checks",
                CHECKS,
                "--max-examples",
                str(EXAMPLES),
                "--seed",
                "20",
                "--phases",
                "coverage,fuzzing",
            ),
            *("--header", "Authorization: Bearer sesame", "--generation-database", "none"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert client.get("/health").status_code == 200
    assert backend.tasks


def test_the_description_has_all_routes_and_no_unresolved_references() -> None:
    with served(Scripted()) as client:
        described = client.get("/openapi.json")
        assert described.status_code == 200 and "#/$defs" not in described.text
        routes = described.json()["paths"]
        assert routes.keys() == {
            "/v1/completions",
            "/v1/fim/completions",
            "/v1/models",
            "/health",
            "/metrics",
        }
        body = routes["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body["required"] == ["prompt"] and body["properties"]["n"]["maximum"] == 1

"""Names of files that must not be read to the model."""

from __future__ import annotations

import pytest

from mercury_lsp.context.privacy import is_private


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.production",
        "prod.env",
        "/home/a/project/.ENV",
        "C:\\Users\\a\\.env.local",
        "server.pem",
        "tls/private.key",
        "store.P12",
        "/home/a/.ssh/config",
        "id_rsa",
        "id_ed25519.pub",
        ".netrc",
        ".npmrc",
        ".pypirc",
        ".htpasswd",
        ".git-credentials",
        "/home/a/.aws/credentials",
        "config/credentials.yml",
        "google-credentials.json",
        "client_secret_123.json",
        "secrets.toml",
        "infra/prod.tfvars",
    ],
)
def test_private(path: str) -> None:
    assert is_private(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "main.py",
        "environment.py",
        "env.py",
        "src/key.py",
        "keys.go",
        "monkey",
        "secretary.py",
        "credentials_test.go",
        "credentials/main.rs",
        "aws/client.py",
        "id_rsa_parser.c",
        "package.json",
    ],
)
def test_not_private(path: str) -> None:
    assert not is_private(path)

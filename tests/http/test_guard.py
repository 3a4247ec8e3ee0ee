"""What a web page can send, where nobody needs a token: none of it is answered."""

from __future__ import annotations

import pytest
from support.servers.http_service import Scripted, served

from mercury_lsp.http.connections import MAX_HEADER_BYTES
from mercury_lsp.http.guard import HeaderGuard, is_loopback_host
from mercury_lsp.http.settings import ServiceSettings

OWN_HOSTS = ("localhost", "LocalHost:2088", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:2088")
FOREIGN_HOSTS = (
    "evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example",
    "localhost@evil.example", "0.0.0.0", "[::]", "[::1].evil.example", "192.168.0.1", "localhost:x", "localhost:2088:1",
    "localhost/", "localhost, evil.example", "", "2130706433", "127.1", "0x7f.1", "[::1", "localhost.", "ⓛocalhost",
)  # fmt: skip
OWN_ORIGINS = ("http://localhost:3000", "http://127.0.0.1:2088", "https://[::1]:8443")
FOREIGN_ORIGINS = (
    "https://evil.example", "null", "", "file://", "http://localhost.evil.example", "http://localhost@evil.example",
    "localhost", "chrome-extension://localhost", "http://[::1", "http://evil.example#localhost",
)  # fmt: skip
SIMPLE_KINDS = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "",
    "a/b; application/json",
)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_names_of_this_machine_are_known(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_names_of_others_are_not_taken_for_it(host: str) -> None:
    assert not is_loopback_host(host)


def test_without_tokens_no_page_of_another_site_is_answered() -> None:
    foreign = [{"Host": host} for host in FOREIGN_HOSTS if host.isascii()]
    foreign += [{"Origin": origin} for origin in FOREIGN_ORIGINS]
    foreign += [{"Sec-Fetch-Site": "cross-site"}]
    backend = Scripted()
    with served(backend) as client:
        for headers in foreign:
            for answer in (
                client.post("/v1/completions", json={"prompt": "x"}, headers=headers),
                client.get("/v1/models", headers=headers),
                client.get("/health", headers=headers),
                client.options("/v1/completions", headers=headers),
            ):
                assert answer.status_code == 403, headers
                assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert not backend.tasks
        for headers in [{"Host": host} for host in OWN_HOSTS] + [
            {"Origin": origin} for origin in OWN_ORIGINS
        ]:
            assert client.post("/v1/completions", json={"prompt": "x"}, headers=headers).status_code == 200


@pytest.mark.parametrize("tokens", [{}, {"sesame": "ann"}])
def test_only_json_is_read(tokens: dict[str, str]) -> None:
    headers = {"Authorization": "Bearer sesame"}
    with served(Scripted(), ServiceSettings(tokens=tokens)) as client:
        for kind in SIMPLE_KINDS:
            sent = client.post(
                "/v1/completions", content=b'{"prompt": "x"}', headers=headers | {"Content-Type": kind}
            )
            assert sent.status_code == 415
        for kind in ("application/json", "Application/JSON; charset=utf-8"):
            sent = client.post(
                "/v1/completions", content=b'{"prompt": "x"}', headers=headers | {"Content-Type": kind}
            )
            assert sent.status_code == 200
        assert client.post("/v1/completions", content=b'{"prompt": "x"}', headers=headers).status_code == 415


def test_with_tokens_any_name_may_be_the_host() -> None:
    with served(Scripted(), ServiceSettings(tokens={"sesame": "ann"})) as client:
        headers = {"Authorization": "Bearer sesame", "Host": "models.example"}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_a_proxys_headers_have_a_limit_too() -> None:
    guard = HeaderGuard(lambda *_: None, local=False)  # type: ignore[arg-type, return-value]
    refused = guard._refused([(b"x", b"y" * 1024)] * (MAX_HEADER_BYTES // 1024))
    assert refused is not None and refused.status == 431
    assert guard._refused([(b"x", b"y" * 1024)]) is None

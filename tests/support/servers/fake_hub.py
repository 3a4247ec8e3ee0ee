"""A test hub on real sockets: the requests that downloads need, and the ways in which a hub may fail.

Large files are redirected to another host, as at the real hub.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"
# From so many bytes on, a file is stored separately and has a SHA-256.
LARGE = 1000


@dataclass
class Repo:
    """A repository.

    `corrupt`: files that are sent with a changed byte. `cut`: by file, for each request the number of bytes after which
    the connection ends. `busy`: by file, the number of requests that are refused first. `whole`: range requests are
    answered with the whole file.
    """

    files: dict[str, bytes]
    card: dict[str, object] | None = field(default_factory=lambda: {"license": "apache-2.0"})
    commit: str = "a" * 40
    gated: bool = False
    private: bool = False
    corrupt: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    busy: Counter[str] = field(default_factory=Counter)
    whole: bool = False

    def info(self, name: str) -> dict[str, object]:
        siblings = []
        for path, content in self.files.items():
            sibling: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": sha1(content)}
            if len(content) >= LARGE:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 130}
            siblings.append(sibling)
        return {
            "id": name,
            "sha": self.commit,
            "private": self.private,
            "gated": "manual" if self.gated else False,
            "tags": [],
            "cardData": self.card,
            "siblings": siblings,
        }


def sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Seen:
    """A request: its host, its path, and the relevant headers."""

    host: str
    path: str
    authorization: str | None
    range: str | None


@dataclass
class Hub:
    """A hub that is served at `url`.

    `stall`: if given, a cut connection stays open until this event is set. `stalled`: set when a connection stalls.
    """

    url: str
    repos: dict[str, Repo]
    seen: list[Seen] = field(default_factory=list)
    stall: threading.Event | None = None
    stalled: threading.Event = field(default_factory=threading.Event)

    def fetched(self) -> list[str]:
        """Return the names of the requested files in order; the redirected request of a large file does not count."""
        return [seen.path.split("/")[-1] for seen in self.seen if "/resolve/" in seen.path]


@contextmanager
def serving(**repos: Repo) -> Iterator[Hub]:
    """Run a hub with repositories by name; `__` in a name stands for the slash."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            host = self.headers["Host"].partition(":")[0]
            hub.seen.append(Seen(host, path, self.headers["Authorization"], self.headers["Range"]))
            match path.strip("/").split("/"):
                case ["api", "models", owner, name, *rest]:
                    self._info(f"{owner}/{name}", rest[1] if rest else "main")
                case [owner, name, "resolve", _, file]:
                    self._file(f"{owner}/{name}", file)
                case ["cdn", owner, name, file]:
                    self._content(hub.repos[f"{owner}/{name}"], file)
                case _:
                    self._send(404, b"", {})

        def _may(self, repo: Repo | None) -> bool:
            signed = self.headers["Authorization"] == f"Bearer {TOKEN}"
            return repo is not None and (signed or not repo.private)

        def _info(self, name: str, revision: str) -> None:
            repo = hub.repos.get(name)
            if repo is None or not self._may(repo):
                self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            elif revision not in ("main", repo.commit):
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            else:
                self._send(200, json.dumps(repo.info(name)).encode(), {"Content-Type": "application/json"})

        def _file(self, name: str, file: str) -> None:
            repo = hub.repos[name]
            if repo.gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
                code = 401 if self.headers["Authorization"] is None else 403
                self._send(code, b"", {"X-Error-Code": "GatedRepo"})
            elif repo.busy[file]:
                repo.busy[file] -= 1
                self._send(503, b"", {})
            elif len(repo.files[file]) >= LARGE:
                elsewhere = hub.url.replace("127.0.0.1", "localhost")
                self._send(302, b"", {"Location": f"{elsewhere}/cdn/{name}/{file}"})
            else:
                self._content(repo, file)

        def _content(self, repo: Repo, file: str) -> None:
            content = repo.files[file]
            if file in repo.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            start = int((self.headers["Range"] or "bytes=0-")[6:-1]) if not repo.whole else 0
            headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{sha1(content)}"'}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cuts = repo.cut.get(file)
            end = start + cuts.pop(0) if cuts else None
            self._send(206 if start else 200, content[start:], headers, None if end is None else end - start)

        def _send(self, status: int, body: bytes, headers: dict[str, str], only: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if only is None else body[:only])
            if only is not None:
                self.wfile.flush()
                if hub.stall is not None:
                    hub.stalled.set()
                    hub.stall.wait(60)
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = Hub(
        f"http://127.0.0.1:{server.server_port}",
        {name.replace("__", "/"): repo for name, repo in repos.items()},
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        if hub.stall is not None:
            hub.stall.set()
        server.shutdown()
        server.server_close()
        thread.join()

"""The download of what the hub offers: each file as the hub says by its checksum, and the folder whole or not at all.

A download that ends early goes on where it stopped, in this process or a later one. For this, and because the library
keeps no file that is not whole, files are read here, by the library's own session. While a model is downloaded its
files are called by their hashes, so that whatever is left of an earlier time, or of another revision, is of use.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from mercury_lsp import __version__
from mercury_lsp.models import downloads
from mercury_lsp.models.hub import AGENT, TIMEOUT, File, HubError, Offer, told

RETRIES = 5  # in a row without a byte
PAUSE = 1.0  # seconds before the first of them; twice as long before each further one, to 8 times
BUSY = frozenset({408, 429, 500, 502, 503, 504})  # what a later try may mend
CHUNK = 1 << 20


class _Interrupted(Exception):
    """The connection is lost, or the hub is busy."""


def fetch(found: Offer, progress: Callable[[int], None] = lambda count: None) -> Path:
    """Download what is missing of an offer; returns the model's folder. `progress`: told of bytes that have come.

    Where the same revision was downloaded already, nothing is done. Raises `HubError`.
    """
    old = downloads.find(found.repo)
    if old is not None and old.note.revision == found.revision:
        return old.folder
    partial = downloads.partial(found.repo)
    with told(found.repo, found.revision):
        partial.mkdir(parents=True, exist_ok=True)
        with _alone(partial, found.repo):
            _take_over(partial, old, found)
            _check_space(partial, found)
            for file in found.files:
                _download(found, file, partial / file.hash, progress)
            return _finish(partial, found)


def _held(repo: str, file: File) -> int:
    """Bytes of a file that an earlier download has left."""
    for name in (file.hash, f"{file.hash}.part"):
        with suppress(OSError):
            return min(file.size, (downloads.partial(repo) / name).stat().st_size)
    return 0


def _take_over(partial: Path, old: downloads.Download | None, found: Offer) -> None:
    """Keep of an unfinished download what belongs to this one, and use what an older revision has in common with it."""
    hashes = {file.hash for file in found.files}
    for path in partial.iterdir():
        if path.name.removesuffix(".part") not in hashes:
            path.unlink()
    for name, known in old.note.files.items() if old else ():
        if known in hashes and not (partial / known).exists():
            with suppress(OSError):  # then it is downloaded
                os.link(old.folder / name, partial / known)  # type: ignore[union-attr]


def _check_space(partial: Path, found: Offer) -> None:
    missing = found.size - sum(_held(found.repo, file) for file in found.files)
    free = shutil.disk_usage(partial).free
    if missing > free:
        raise HubError(
            f"{found.repo} needs {missing / 1e9:.1f} GB more and {partial.parent} has {free / 1e9:.1f} GB free: "
            "make room, or set XDG_DATA_HOME to a folder on a larger disk."
        )


def _download(found: Offer, file: File, path: Path, progress: Callable[[int], None]) -> None:
    """Get one file to a path, by way of one with `.part` behind it, and check it."""
    if path.exists():
        return progress(file.size)
    part = path.with_name(f"{path.name}.part")
    with part.open("ab+") as out:
        digest = file.digest()
        done = _digested(out, digest) if out.tell() <= file.size else 0
        progress(done)
        failures, most = 0, done
        while done < file.size:
            try:
                for offset, chunk in _chunks(found, file, done):
                    if offset == 0:  # the hub began anew, whatever it was asked
                        progress(-done)
                        done, digest = 0, file.digest()
                    if out.tell() != done:
                        out.truncate(done)
                    kept = chunk[: file.size - done]  # if there is more, the checksum will tell
                    out.write(kept)
                    digest.update(kept)
                    done += len(kept)
                    progress(len(kept))
                    if done == file.size:
                        break
            except _Interrupted as error:
                cause = str(error)
            else:
                cause = "the connection ended"
            failures, most = (0, done) if done > most else (failures + 1, most)
            if failures > RETRIES:
                raise HubError(
                    f"Of {file.name}, {found.host} sent {done / 1e6:.0f} of {file.size / 1e6:.0f} MB ({cause}): "
                    "the same command goes on from there."
                )
            if done < file.size:
                time.sleep(PAUSE * min(2**failures, 8))
        out.truncate(done)
    if digest.hexdigest() != file.hash:
        part.unlink()
        raise HubError(
            f"{file.name} from {found.host} is not what its checksum says and was deleted: try again, and if it stays "
            "so, something between here and there changes what is sent."
        )
    part.replace(path)
    return None


def _digested(out: BinaryIO, digest: Any) -> int:
    """Digest what an earlier download has left; returns its length."""
    out.seek(0)
    done = 0
    while chunk := out.read(CHUNK):
        digest.update(chunk)
        done += len(chunk)
    return done


def _chunks(found: Offer, file: File, start: int) -> Iterator[tuple[int, bytes]]:
    """A file's bytes from an offset on, each chunk with its own offset. Raises `_Interrupted`."""
    import httpx2
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it exports them when they are asked for
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    headers = build_hf_headers(library_name=AGENT, library_version=__version__)
    headers["Accept-Encoding"] = "identity"
    if start:
        headers["Range"] = f"bytes={start}-"
    url = hf_hub_url(found.repo, file.name, revision=found.revision)
    try:
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            if response.status_code in BUSY:
                raise _Interrupted(f"status {response.status_code}")
            hf_raise_for_status(response)
            offset = start if response.status_code == 206 else 0
            for chunk in response.iter_bytes(CHUNK):
                yield offset, chunk
                offset += len(chunk)
    except httpx2.TransportError as error:
        raise _Interrupted(type(error).__name__) from error


def _finish(partial: Path, found: Offer) -> Path:
    """Give each file its name, and the folder too."""
    held: dict[str, Path] = {}
    for file in found.files:
        path = partial / file.name
        if file.hash in held:
            shutil.copyfile(held[file.hash], path)
        else:
            (partial / file.hash).replace(path)
            held[file.hash] = path
    hashes = {file.name: file.hash for file in found.files}
    downloads.write_note(
        partial, downloads.Note(found.repo, found.revision, found.host, found.license, hashes)
    )
    folder = downloads.folder_of(found.repo)
    former = folder.with_name(f".{folder.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.rename(former)
    partial.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
    return folder


@contextmanager
def _alone(partial: Path, repo: str) -> Iterator[None]:
    """No other process downloads the same model meanwhile."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(partial.with_name(f".{partial.name}.lock"), timeout=0.5))
        except TimeoutError as error:
            raise HubError(f"{repo} is being downloaded already: wait for that to end.") from error
        yield

"""Downloads a model's files, verifies their checksums, and completes the folder at the end.

A later call continues an interrupted download. The hub's library keeps no incomplete files, so this module downloads
them itself, with the library's session. During the download the files are named by their hashes, so that files of an
earlier attempt or of another revision are reused.
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
from mercury_lsp.models.hub import AGENT, TIMEOUT_SECONDS, File, HubError, HubModel, as_hub_error

RETRIES_WITHOUT_PROGRESS = 5
# The pause before the first retry; it doubles before each further retry, up to 8 times as long.
RETRY_PAUSE_SECONDS = 1.0
# HTTP statuses after which a retry may help.
BUSY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
CHUNK_BYTES = 1 << 20


class _RetryableError(Exception):
    """The connection is lost, or the hub is busy."""


def download_model(model: HubModel, progress: Callable[[int], None] = lambda count: None) -> Path:
    """Download the missing files of an offer and return the model's folder.

    progress: called with the number of new bytes. Does nothing if the revision is already there. Raises `HubError`.
    """
    old = downloads.find_download(model.repo)
    if old is not None and old.note.revision == model.revision:
        return old.folder
    partial = downloads.partial_folder(model.repo)
    with as_hub_error(model.repo, model.revision):
        partial.mkdir(parents=True, exist_ok=True)
        with _download_lock(partial, model.repo):
            _reuse_files(partial, old, model)
            _check_space(partial, model)
            for file in model.files:
                _download(model, file, partial / file.hash, progress)
            return _finish(partial, model)


def _partial_bytes(repo: str, file: File) -> int:
    for name in (file.hash, f"{file.hash}.part"):
        with suppress(OSError):
            return min(file.size, (downloads.partial_folder(repo) / name).stat().st_size)
    return 0


def _reuse_files(partial: Path, old: downloads.Download | None, model: HubModel) -> None:
    """Keep the usable files of an unfinished download, and link files that an older revision shares."""
    hashes = {file.hash for file in model.files}
    for path in partial.iterdir():
        if path.name.removesuffix(".part") not in hashes:
            path.unlink()
    for name, hash_ in old.note.files.items() if old else ():
        if hash_ in hashes and not (partial / hash_).exists():
            # If the link fails, the file is downloaded.
            with suppress(OSError):
                os.link(old.folder / name, partial / hash_)  # type: ignore[union-attr]


def _check_space(partial: Path, model: HubModel) -> None:
    missing = model.size - sum(_partial_bytes(model.repo, file) for file in model.files)
    free = shutil.disk_usage(partial).free
    if missing > free:
        raise HubError(
            f"{model.repo} needs {missing / 1e9:.1f} GB more and {partial.parent} has {free / 1e9:.1f} GB free: "
            "make room, or set XDG_DATA_HOME to a folder on a larger disk."
        )


def _download(model: HubModel, file: File, path: Path, progress: Callable[[int], None]) -> None:
    """Download one file to a path by way of a `.part` file, and verify its checksum."""
    if path.exists():
        return progress(file.size)
    part = path.with_name(f"{path.name}.part")
    with part.open("ab+") as output:
        digest = file.digest()
        done = _digest_existing(output, digest) if output.tell() <= file.size else 0
        progress(done)
        failures, furthest = 0, done
        while done < file.size:
            try:
                for offset, chunk in _chunks(model, file, done):
                    # The hub may ignore the requested offset and start again.
                    if offset == 0:
                        progress(-done)
                        done, digest = 0, file.digest()
                    if output.tell() != done:
                        output.truncate(done)
                    part_of_file = chunk[: file.size - done]
                    output.write(part_of_file)
                    digest.update(part_of_file)
                    done += len(part_of_file)
                    progress(len(part_of_file))
                    if done == file.size:
                        break
            except _RetryableError as error:
                cause = str(error)
            else:
                cause = "the connection ended"
            failures, furthest = (0, done) if done > furthest else (failures + 1, furthest)
            if failures > RETRIES_WITHOUT_PROGRESS:
                raise HubError(
                    f"Of {file.name}, {model.host} sent {done / 1e6:.0f} of {file.size / 1e6:.0f} MB ({cause}): "
                    "the same command goes on from there."
                )
            if done < file.size:
                time.sleep(RETRY_PAUSE_SECONDS * min(2**failures, 8))
        output.truncate(done)
    if digest.hexdigest() != file.hash:
        part.unlink()
        raise HubError(
            f"{file.name} from {model.host} is not what its checksum says and was deleted: try again, and if it stays "
            "so, something between here and there changes what is sent."
        )
    part.replace(path)
    return None


def _digest_existing(output: BinaryIO, digest: Any) -> int:
    output.seek(0)
    done = 0
    while chunk := output.read(CHUNK_BYTES):
        digest.update(chunk)
        done += len(chunk)
    return done


def _chunks(model: HubModel, file: File, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the chunks of a file from an offset on, each with its own offset. Raises `_RetryableError`."""
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
    url = hf_hub_url(model.repo, file.name, revision=model.revision)
    try:
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code in BUSY_STATUSES:
                raise _RetryableError(f"status {response.status_code}")
            hf_raise_for_status(response)
            offset = start if response.status_code == 206 else 0
            for chunk in response.iter_bytes(CHUNK_BYTES):
                yield offset, chunk
                offset += len(chunk)
    except httpx2.TransportError as error:
        raise _RetryableError(type(error).__name__) from error


def _finish(partial: Path, model: HubModel) -> Path:
    """Rename each file and the folder to their final names."""
    first_copies: dict[str, Path] = {}
    for file in model.files:
        path = partial / file.name
        if file.hash in first_copies:
            shutil.copyfile(first_copies[file.hash], path)
        else:
            (partial / file.hash).replace(path)
            first_copies[file.hash] = path
    hashes = {file.name: file.hash for file in model.files}
    downloads.write_note(
        partial, downloads.DownloadNote(model.repo, model.revision, model.host, model.license, hashes)
    )
    folder = downloads.model_folder(model.repo)
    previous = folder.with_name(f".{folder.name}.former")
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    partial.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)
    return folder


@contextmanager
def _download_lock(partial: Path, repo: str) -> Iterator[None]:
    """Lock the model against other processes that download it."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(partial.with_name(f".{partial.name}.lock"), timeout=0.5))
        except TimeoutError as error:
            raise HubError(f"{repo} is being downloaded already: wait for that to end.") from error
        yield

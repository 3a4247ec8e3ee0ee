"""Requests the list of a model's files from the hub, and turns the hub's failures into messages.

No executable files are downloaded. The library's settings apply: HF_ENDPOINT, HF_TOKEN, HF_HOME for its stored token,
HF_HUB_OFFLINE. Only the download command and `fetch` import this module: nothing else contacts the hub.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mercury_lsp import __version__
from mercury_lsp.models import downloads

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

WANTED_FILES = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
    "LICENSE*",
    "README.md",
)
MAX_LICENSE_CHARACTERS = 200
# The time limit for the answer, and for each further byte of it.
TIMEOUT_SECONDS = 30.0
AGENT = "mercury-lsp"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


class HubError(Exception):
    """The download failed or is incomplete; the message is one sentence for the user, with the fix."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository.

    `size`: bytes. `hash`: hexadecimal SHA-256 of a large file, git's SHA-1 of a small one.
    """

    name: str
    size: int
    hash: str

    def digest(self) -> Any:
        """Return a digest object that computes `hash` from the file's content."""
        return hashlib.sha256() if len(self.hash) == 64 else hashlib.sha1(b"blob %d\0" % self.size)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model at the hub.

    `revision`: the commit. `license`: of the model's card, or None. `page`: the address of the card.
    """

    repo: str
    revision: str
    host: str
    page: str
    license: str | None
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)


def endpoint() -> str:
    """Return the hub's address."""
    # The library reads this variable at its first import, which is here.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants

    return constants.ENDPOINT


def host() -> str:
    """Return the host that `request_model` and `fetch` contact; the host may redirect downloads of large files."""
    return urlsplit(endpoint()).netloc or endpoint()


def request_model(repo: str, revision: str | None = None) -> HubModel:
    """Ask the hub for a model at a revision, or else at the main branch. Raises `HubError`."""
    page = f"{endpoint()}/{repo}"
    from huggingface_hub import HfApi

    if not _REPO.fullmatch(repo):
        raise HubError(f"{repo} is no name of a model: one is OWNER/NAME.")
    with as_hub_error(repo, revision):
        api = HfApi(library_name=AGENT, library_version=__version__)
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        if not (_REPO.fullmatch(info.id) and _HASH.fullmatch(info.sha or "")):
            raise ValueError("no name, or no commit")
        files = tuple(
            _parse_file(sibling) for sibling in info.siblings or () if is_wanted_file(sibling.rfilename)
        )
        model = HubModel(
            downloads.escape_unprintable(info.id),
            info.sha or "",
            host(),
            page,
            _license_text(info.card_data),
            files,
        )
    names = [file.name for file in files]
    if not any(name.endswith(".safetensors") for name in names) or "config.json" not in names:
        raise HubError(
            f"{repo} has no config.json with safetensors: weights in other forms may hold code and are never "
            "loaded."
        )
    return model


def is_wanted_file(name: str) -> bool:
    """Return whether to download a file of a repository: only model files in the top folder."""
    is_plain = not set(name) & set("/\\:") and not name.startswith(".") and name.isprintable()
    return is_plain and any(fnmatch(name, pattern) for pattern in WANTED_FILES)


def _parse_file(sibling: RepoSibling) -> File:
    """Parse a file in the hub's answer. Raises `ValueError` if its size or checksum is missing."""
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    hash_ = sha256 or sibling.blob_id or ""
    if sibling.size is None or not _HASH.fullmatch(hash_):
        raise ValueError(f"no size or checksum of {downloads.escape_unprintable(sibling.rfilename)}")
    return File(sibling.rfilename, sibling.size, hash_)


def _license_text(card: object) -> str | None:
    get = getattr(card, "get", lambda key: None)
    name = get("license_name") if get("license") in (None, "other") else get("license")
    parts = [get("license"), name] if name != get("license") else [name]
    text = ", ".join(str(part) for part in parts if part)
    return downloads.escape_unprintable(" ".join(text.split()))[:MAX_LICENSE_CHARACTERS] or None


@contextmanager
def as_hub_error(repo: str, revision: str | None) -> Iterator[None]:
    """Turn errors in the block into a `HubError` about a model."""
    import httpx2
    from huggingface_hub import errors

    host_name, address = host(), endpoint()
    token = f"set HF_TOKEN to a token from {address}/settings/tokens"
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set, so nothing is downloaded: unset it.") from error
    except errors.GatedRepoError as error:
        raise HubError(f"{repo} is gated: accept its terms at {address}/{repo}, and {token}.") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo} has no revision {revision}: see {address}/{repo}/commits.") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{host_name} has no model {repo}, or it is private: fix the name, or, if it is private, {token}."
        ) from error
    except errors.HFValidationError as error:
        raise HubError(f"{repo} is no name of a model: one is OWNER/NAME.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        fix = f"{token}." if status in (401, 403) else "try again later."
        raise HubError(f"{host_name} refused to send {repo}, with status {status}: {fix}") from error
    except httpx2.HTTPError as error:
        raise HubError(
            f"{host_name} cannot be reached ({type(error).__name__}): check the network, or HF_ENDPOINT if that is set."
        ) from error
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fix = "make room; the same command goes on from there" if is_full else "fix that and try again"
        raise HubError(f"{downloads.models_folder()} cannot be written: {error.strerror}; {fix}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HubError(f"What {host_name} answers is not what a hub does: check HF_ENDPOINT.") from error

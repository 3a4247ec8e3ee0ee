"""The hub: what it offers under a model's name, and what to tell of its refusals.

Owns which files of a repository are asked for, never any that could run. The library's settings are honored:
HF_ENDPOINT, HF_TOKEN, HF_HOME for the token that it keeps, HF_HUB_OFFLINE. Every way to fail ends in a `HubError`.
Imported by the command that downloads, and by `fetch`, and by nothing else: nothing else contacts the hub.
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

WANTED = (
    "*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
    "LICENSE*",
    "README.md",
)
LONGEST_LICENSE = 200  # characters of a license's name
TIMEOUT = 30.0  # seconds without an answer, or without anything more of it
AGENT = "mercury-lsp"
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


class HubError(Exception):
    """Nothing was downloaded, or not all; the message is one sentence for the user, with the mend."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository. `size`: bytes; `hash`: SHA-256 in hexadecimal digits of a large file, and git's SHA-1 of
    a small one."""

    name: str
    size: int
    hash: str

    def digest(self) -> Any:
        """What computes `hash` of the contents that it is given."""
        return hashlib.sha256() if len(self.hash) == 64 else hashlib.sha1(b"blob %d\0" % self.size)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the hub has under a name. `revision`: the commit; `license`: as the model's card names it, or None; `page`:
    where it can be read."""

    repo: str
    revision: str
    host: str
    page: str
    license: str | None
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def endpoint() -> str:
    """The hub's address."""
    # Read when the library is imported, which happens here first.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants

    return constants.ENDPOINT


def host() -> str:
    """Whom `offer` contacts, and `fetch`, which may be sent elsewhere for large files."""
    return urlsplit(endpoint()).netloc or endpoint()


def offer(repo: str, revision: str | None = None) -> Offer:
    """Ask the hub for a model, and for the commit that a revision, or else its main branch, is now.

    Raises `HubError`.
    """
    page = f"{endpoint()}/{repo}"
    from huggingface_hub import HfApi

    if not _REPO.fullmatch(repo):
        raise HubError(f"{repo} is no name of a model: one is OWNER/NAME.")
    with told(repo, revision):
        api = HfApi(library_name=AGENT, library_version=__version__)
        info = api.model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        if not (_REPO.fullmatch(info.id) and _HASH.fullmatch(info.sha or "")):
            raise ValueError("no name, or no commit")
        files = tuple(_file(sibling) for sibling in info.siblings or () if wanted(sibling.rfilename))
        found = Offer(
            downloads.printable(info.id), info.sha or "", host(), page, _license(info.card_data), files
        )
    names = [file.name for file in files]
    if not any(name.endswith(".safetensors") for name in names) or "config.json" not in names:
        raise HubError(
            f"{repo} has no config.json with safetensors: weights in other forms may hold code and are never "
            "loaded."
        )
    return found


def wanted(name: str) -> bool:
    """Whether a file of a repository is fetched: of those at its top, the ones of which a model is made."""
    plain = not set(name) & set("/\\:") and not name.startswith(".") and name.isprintable()
    return plain and any(fnmatch(name, pattern) for pattern in WANTED)


def _file(sibling: RepoSibling) -> File:
    """A file as the hub tells of it. Raises `ValueError` where it does not tell enough."""
    large = sibling.lfs.sha256 if sibling.lfs else None
    known = large or sibling.blob_id or ""
    if sibling.size is None or not _HASH.fullmatch(known):
        raise ValueError(f"no size or checksum of {downloads.printable(sibling.rfilename)}")
    return File(sibling.rfilename, sibling.size, known)


def _license(card: object) -> str | None:
    """What a model's card says of its license."""
    get = getattr(card, "get", lambda key: None)
    named = get("license_name") if get("license") in (None, "other") else get("license")
    parts = [get("license"), named] if named != get("license") else [named]
    text = ", ".join(str(part) for part in parts if part)
    return downloads.printable(" ".join(text.split()))[:LONGEST_LICENSE] or None


@contextmanager
def told(repo: str, revision: str | None) -> Iterator[None]:
    """Whatever goes wrong in here, about a model, becomes a `HubError`."""
    import httpx2
    from huggingface_hub import errors

    where, address = host(), endpoint()
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
            f"{where} has no model {repo}, or it is private: mend the name, or, if it is private, {token}."
        ) from error
    except errors.HFValidationError as error:
        raise HubError(f"{repo} is no name of a model: one is OWNER/NAME.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        mend = f"{token}." if status in (401, 403) else "try again later."
        raise HubError(f"{where} refused to send {repo}, with status {status}: {mend}") from error
    except httpx2.HTTPError as error:
        raise HubError(
            f"{where} cannot be reached ({type(error).__name__}): check the network, or HF_ENDPOINT if that is set."
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "make room; the same command goes on from there" if full else "mend that and try again"
        raise HubError(f"{downloads.models_folder()} cannot be written: {error.strerror}; {mend}.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HubError(f"What {where} answers is not what a hub does: check HF_ENDPOINT.") from error

"""Fixtures of all tests: they protect the user's folders, and make the tiny models and a tiny corpus once.

Modules that need PyTorch are imported inside the fixtures, so that tests of pure code start without PyTorch.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.paths import cache_folder

if TYPE_CHECKING:
    from torch import Tensor


# These tests take minutes in total: `make test` leaves them out, and `make test-slow` runs them.
SLOW = frozenset(
    ["cluster", "data", "evaluation/heldout", "evaluation/suites", "release", "training",
     "checkpoints/test_fuzz_checkpoints.py", "checkpoints/test_weight_file.py", "cli/test_bounds.py",
     "cli/test_commands.py", "cli/test_core_dependencies.py", "cli/test_fetch.py", "http/test_connections.py",
     "http/test_local.py", "http/test_openapi.py", "arena/test_arena.py", "lsp/lifecycle/test_ends.py",
     "lsp/lifecycle/test_faults.py", "lsp/test_findings.py", "lsp/protocol/test_fuzz.py",
     "lsp/lifecycle/test_large_documents.py", "lsp/privacy/test_served.py", "open_models/test_open_infill.py"]
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        folder, _, _ = item.path.relative_to(here).as_posix().rpartition("/")
        if SLOW & {folder, f"{folder}/{item.path.name}"}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Let Ctrl-C end the processes of the tests, even in a shell's background job, in which SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Restore the log level after each test, because a server that a test runs in this process sets it."""
    log = logging.getLogger("mercury_lsp")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replace the user's folders by temporary ones for this process and its children.

    So no test prepares a model in the user's cache folder, or changes the user's configuration, data or state. The
    toolchains in the cache folder, which take long to build or are installed manually, stay available.
    """
    kept = [cache_folder() / name for name in ("toolchains", "headers")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for home in ("CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{home}_HOME", str(tmp_path_factory.mktemp(home.lower())))
        cache_folder().mkdir()
        for folder in filter(Path.is_dir, kept):
            (cache_folder() / folder.name).symlink_to(folder)
        yield


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(checkpoint.SHIPPED / "small")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint with two random layers that the kernel can run, so that no process imports torch."""
    from support.models.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def unpacked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint with two random layers that only torch can run."""
    from support.models.tiny_models import save_unpacked

    return save_unpacked(tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="session")
def packed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkpoint with two random layers in packed weights of 5 to 7 bits, which the kernel can run."""
    from support.models.tiny_models import save_packed

    return save_packed(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="session")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a constructed checkpoint that always suggests `tiny_models.WORD`, almost with certainty."""
    from support.models.tiny_models import WORD, save_pointing, suggesting

    def pointing(tokenizer: Tokenizer, unit: Tensor) -> dict[int, Tensor]:
        return suggesting(tokenizer, unit, WORD)

    return save_pointing(tmp_path_factory.mktemp("word"), "word", tiny_model, pointing)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The folder of a training corpus of three files."""
    from support.models.tiny_corpus import SOURCE, write_corpus

    return write_corpus(tmp_path / "corpus", "train", python={f"{i}.py": SOURCE for i in range(3)})

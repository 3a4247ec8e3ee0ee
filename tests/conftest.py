"""What all tests share: the user's folders stay untouched, and tiny models and a tiny corpus are made once.

What needs torch is imported where a test wants it, so that tests of pure code start without.
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


# What takes minutes in all: `make test` leaves these out, and `make test-slow` runs them.
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
    """Ctrl-C ends what the tests start, even where they run in a shell's background, which has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """A server that a test runs in this process sets how much is logged; the next test begins as if none had."""
    log = logging.getLogger("mercury_lsp")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No model that is tested, here or in processes of its own, is prepared in the user's cache folder, and nothing
    that a test does counts as the user's.

    What the toolchains keep there, which takes long to make or is installed by hand, is found.
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
    """Folder of a checkpoint with two random layers, which the kernel can run, so that no process waits for torch."""
    from support.models.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def unpacked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint with two random layers, which torch alone can run."""
    from support.models.tiny_models import save_unpacked

    return save_unpacked(tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="session")
def packed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint with two random layers in packed weights, which the kernel can run."""
    from support.models.tiny_models import save_packed

    return save_packed(tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="session")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with weights set by hand: whatever it reads, it suggests `tiny_models.WORD`, with certainty."""
    from support.models.tiny_models import WORD, save_pointing, suggesting

    def pointing(tokenizer: Tokenizer, unit: Tensor) -> dict[int, Tensor]:
        return suggesting(tokenizer, unit, WORD)

    return save_pointing(tmp_path_factory.mktemp("word"), "word", tiny_model, pointing)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Folder of a training corpus of three files."""
    from support.models.tiny_corpus import SOURCE, write_corpus

    return write_corpus(tmp_path / "corpus", "train", python={f"{i}.py": SOURCE for i in range(3)})

"""What the tests share: a real network, tiny and random, in a real checkpoint, with the shipped tokenizer."""

from __future__ import annotations

import gzip
import json
import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mercury_lsp.engine.backends.cpu_weights import cache_folder
from mercury_lsp.engine.backends.network import Network
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.engine.checkpoints.shape import Shape
from mercury_lsp.engine.tokenizer import Tokenizer
from model.save import save

TOKENIZER_JSON = checkpoint.SHIPPED / "small" / Tokenizer.FILE
WORD = "value"
TINY = Shape(vocabulary=49152, width=64, layers=2, heads=4, kv_heads=2, head_width=16, hidden=128)
PACKABLE = Shape(vocabulary=49152, width=128, layers=2, heads=2, kv_heads=1, head_width=64, hidden=192)


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


def tiny_network(seed: int = 0, shape: Shape = TINY) -> Network:
    """A random network, of `TINY` shape, whose logits are far enough apart for comparisons to mean something."""
    torch.manual_seed(seed)
    network = Network(shape)
    for weight in network.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.1)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(TOKENIZER_JSON.parent)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint with two random layers, which the kernel can run, so that no process waits for torch."""
    folder = tmp_path_factory.mktemp("tiny")
    network = tiny_network(shape=PACKABLE)
    save(folder, "tiny", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=lambda _: 7)
    return folder


@pytest.fixture(scope="session")
def unpacked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint with two random layers, which torch alone can run."""
    folder = tmp_path_factory.mktemp("unpacked")
    save(folder, "unpacked", tiny_network(), TOKENIZER_JSON.read_text(encoding="utf-8"), {})
    return folder


@pytest.fixture(scope="session")
def packed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint with two random layers in packed weights, which the kernel can run."""
    return save_packed(tmp_path_factory.mktemp("packed"))


def save_packed(folder: Path) -> Path:
    """Make a folder the checkpoint that `packed_model` is."""
    network = tiny_network(shape=PACKABLE)
    save(folder, "packed", network, TOKENIZER_JSON.read_text(encoding="utf-8"), {}, bits=lambda _: 6)
    return folder


def save_pointing(
    folder: Path, name: str, tiny_model: Path, pointing: Callable[[Tokenizer, Tensor], dict[int, Tensor]]
) -> Path:
    """Make a folder a checkpoint of that name in which a row predicts what its own token's embedding points at.

    Its layers add nothing. ``pointing``: given the tokenizer and unit vectors (width, width), the embeddings by id.
    """
    loaded = checkpoint.load(tiny_model)
    network = Network.of(loaded)
    with torch.no_grad():
        for layer in network.layers:
            layer.attention.out.weight.zero_()
            layer.down.weight.zero_()
        for id_, embedding in pointing(loaded.tokenizer, torch.eye(network.shape.width)).items():
            network.embedding.weight[id_] = embedding
    tokenizer = (tiny_model / Tokenizer.FILE).read_text(encoding="utf-8")
    save(folder, name, network, tokenizer, {}, bits=lambda _: 7)
    return folder


def suggesting(tokenizer: Tokenizer, unit: Tensor, *words: str) -> dict[int, Tensor]:
    """Embeddings by which whatever is read, these words are suggested and then the end, almost with certainty.

    All tokens and `<fim_middle>` point at the first word, each word at the next, and the last one and each mask at the
    end. Of tokens that continue a stem the shortest is likeliest, so that a word goes on behind any beginning. words:
    of one token each, at the beginning of a line and behind a blank alike.
    """
    # Levels of packed weights are shared out by groups of 64 columns, so what is large stands in a group of its own.
    special, (p, y), steps = tokenizer.specials, unit[:2], unit[64:]
    found = {
        id_: p * (40 + 2 * max(0, 12 - len(text))) for id_, text in enumerate(tokenizer.token_bytes()) if text
    }
    found |= {special.fim_middle: p, special.mask: y, special.eot: 50 * y + 1500 * steps[len(words) - 1]}
    for i, word in enumerate(words):
        pointed = 64 * p if i == 0 else 400 * steps[i - 1]
        for text in {word, f" {word.lstrip()}"}:
            (id_,) = tokenizer.encode(text)
            found[id_] = (1.0 if text == word else 63 / 64) * pointed + (150 if i == 0 else 300) * steps[i]
    return found


@pytest.fixture(scope="session")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with weights set by hand: whatever it reads, it suggests `WORD`, with certainty."""

    def pointing(tokenizer: Tokenizer, unit: Tensor) -> dict[int, Tensor]:
        return suggesting(tokenizer, unit, WORD)

    return save_pointing(tmp_path_factory.mktemp("word"), "word", tiny_model, pointing)


SOURCE = "".join(f"def area_{i}(width, height):\n    return width * height * {i}\n\n\n" for i in range(9))


def write_corpus(folder: Path, split: str, **files: dict[str, str]) -> Path:
    """A corpus of one package: by language, the texts of files by their paths."""
    folder.mkdir()
    (folder / "statistics.json").write_text("{}", encoding="utf-8")
    for language, texts in files.items():
        with gzip.open(folder / f"{split}-{language}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for path, text in texts.items():
                about = {"language": language, "package": "p", "version": "1", "licence": "MIT"}
                lines.write(json.dumps(about | {"path": path, "text": text}) + "\n")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Folder of a training corpus of three files."""
    return write_corpus(tmp_path / "corpus", "train", python={f"{i}.py": SOURCE for i in range(3)})

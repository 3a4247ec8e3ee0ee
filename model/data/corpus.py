"""Builds the training corpus: permissively licensed source code of the packages in ``manifest.toml``.

    python -m model.data.corpus [--manifest F] [--out DIR] [--downloads DIR] [--eval-dir DIR] [--no-decontaminate]

The build fetches, cleans, de-duplicates and decontaminates the files, and splits them by package. It writes the files
``train-<language>.jsonl.gz``, ``heldout-<language>.jsonl.gz`` and ``statistics.json``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import shutil
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mercury_lsp.paths import cache_folder
from model import SUITES
from model.data.clean import Evaluation, Originals, flaw, normalize, tokens
from model.data.fetch import KINDS, FetchError, fetch, members

PERMISSIVE = frozenset([
    "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "PSF-2.0", "Python-2.0", "Zlib",
    "Unlicense", "PostgreSQL", "BSL-1.0", "0BSD", "curl", "TCL", "X11", "blessing", "CC0-1.0",
    "public-domain",
])  # fmt: skip
SUFFIXES = {
    # Stubs (.pyi) are left out, since they contain declarations only.
    "python": (".py",),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".mts", ".cts"),
    "tsx": (".tsx",),
    "go": (".go",),
    "rust": (".rs",),
    "c": (".c", ".h"),
    "cpp": (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".h"),
    "java": (".java",),
    "php": (".php",),
    "ruby": (".rb", ".rake"),
    "bash": (".sh", ".bash"),
}
SPLITS = ("train", "heldout")
_COPYLEFT = re.compile(r"\b[AL]?GPL|General Public|\b(?:MPL|EPL|CDDL|SSPL|BUSL)\b|Mozilla Public")
_SHELL = re.compile(rb"#! ?/(?:usr/)?bin/(?:env )?(?:ba|da|k)?sh\b")


class CorpusError(Exception):
    """The corpus cannot be built or read; the message is one sentence with the fix."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the corpus. ``text`` has ``\\n`` line endings; ``path`` is relative to the package."""

    language: str
    package: str
    version: str
    licence: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of the manifest. Globs match the whole path below ``root``; ``*`` also matches ``/``."""

    name: str
    version: str
    # One of fetch.KINDS.
    kind: str
    # The SPDX expression for the files that are used, according to the package itself.
    licence: str
    languages: tuple[str, ...]
    # The folder inside the archive; only files in it are used.
    root: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    heldout: bool = False

    def language(self, path: str, content: bytes) -> str | None:
        """Return the language of a file of this package, or ``None`` if the file is not to be used."""
        if not any(fnmatchcase(path, glob) for glob in self.include):
            return None
        if any(fnmatchcase(path, glob) for glob in self.exclude):
            return None
        suffix = PurePosixPath(path).suffix.lower()
        if not suffix and "bash" in self.languages and _SHELL.match(content):
            return "bash"
        return next((language for language in self.languages if suffix in SUFFIXES[language]), None)


def declared_licence(path: str, content: bytes) -> str:
    """Return the licence that a wheel's or npm package's metadata file declares; ``""`` for any other file."""
    if path.count("/") == 1 and path.endswith(".dist-info/METADATA"):
        header = content.decode("utf-8", "replace").partition("\n\n")[0].splitlines()
        return "; ".join(line for line in header if line.startswith(("License", "Classifier: License")))
    if path == "package.json":
        return str(json.loads(content).get("license"))
    return ""


def read_manifest(file: Path) -> tuple[Package, ...]:
    """Read and check the packages of a manifest. Raises :class:`CorpusError`, which names the wrong entry."""
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8")).get("package", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CorpusError(f"the manifest {file} cannot be read: {error}") from error
    packages = []
    for entry in entries:
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        try:
            package = Package(**{**entry, **lists})
        except TypeError as error:
            raise CorpusError(f"{file}, package {entry.get('name', '?')}: {error}") from error
        packages.append(package)
        wrong = set(package.languages) - SUFFIXES.keys()
        licences = set(package.licence.replace("(", " ").replace(")", " ").split()) - {"OR", "AND", "WITH"}
        if package.kind not in KINDS:
            raise CorpusError(f"{file}, package {package.name}: kind must be one of {', '.join(KINDS)}")
        if wrong or not package.languages:
            raise CorpusError(
                f"{file}, package {package.name}: languages must be among {', '.join(SUFFIXES)}"
            )
        if not licences or licences - PERMISSIVE:
            raise CorpusError(
                f"{file}, package {package.name}: {package.licence!r} is not a permissive licence"
            )
    return tuple(packages)


def corpus_folder() -> Path:
    """Return the default folder of the corpus."""
    return cache_folder() / "corpus"


def iter_documents(
    split: str, languages: Collection[str] | None = None, folder: Path | None = None
) -> Iterator[Source]:
    """Yield the files of one split, "train" or "heldout", language by language, each in a fixed shuffled order.

    Raises :class:`CorpusError` if the split is unknown or the corpus has not been built.
    """
    folder = folder or corpus_folder()
    if split not in SPLITS:
        raise CorpusError(f"there is no split {split!r}, only {' and '.join(SPLITS)}")
    if not (folder / "statistics.json").is_file():
        raise CorpusError(f"there is no corpus in {folder}; build one with: python -m model.data.corpus")
    for language in SUFFIXES:
        file = folder / f"{split}-{language}.jsonl.gz"
        if file.is_file() and (languages is None or language in languages):
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for line in lines:
                    yield Source(**json.loads(line))


class Build:
    """One pass over the packages: the kept files by split and language, and the reasons for the dropped files."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.kept: dict[tuple[str, str], list[Source]] = defaultdict(list)
        self.dropped: Counter[str] = Counter()
        self.packages: list[dict[str, object]] = []
        self._evaluation = evaluation
        self._originals = Originals()

    def add(self, package: Package, files: Iterable[tuple[str, bytes]]) -> None:
        """Add the fit files of one package. Raises :class:`CorpusError` if its metadata declares a copyleft licence."""
        dropped: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        count = 0
        root = f"{package.root.strip('/')}/" if package.root else ""
        for inside, content in files:
            if _COPYLEFT.search(licence := declared_licence(inside, content)):
                raise CorpusError(f"{package.name} {package.version} says of itself: {licence}; take it out")
            path = inside.removeprefix(root)
            language = package.language(path, content) if inside.startswith(root) else None
            if language is None:
                continue
            reason = flaw(path, content)
            if reason is None:
                text = normalize(content)
                hashes = tokens(text)
                # Tested first, so that a dropped file does not exclude a clean near copy of it.
                shared = self._evaluation.shares(hashes)
                reason = "evaluation" if shared else self._originals.repeats(text, hashes)
            if reason is not None:
                dropped[reason] += 1
                continue
            split = "heldout" if package.heldout else "train"
            source = Source(language, package.name, package.version, package.licence, path, text)
            self.kept[split, language].append(source)
            sizes[language] += len(text.encode())
            count += 1
        self.dropped.update(dropped)
        entry = asdict(package) | {"files": count, "bytes": dict(sizes), "dropped": dict(dropped)}
        self.packages.append(
            {key: value for key, value in entry.items() if key not in ("include", "exclude")}
        )

    def write(self, folder: Path) -> dict[str, object]:
        """Write the corpus into ``folder``, each file atomically, and return its statistics."""
        folder.mkdir(parents=True, exist_ok=True)
        # A killed build leaves its folder.
        for left in folder.glob(".build-*"):
            shutil.rmtree(left, ignore_errors=True)
        splits: dict[str, dict[str, dict[str, int]]] = {split: {} for split in SPLITS}
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as temporary:
            for (split, language), sources in sorted(self.kept.items()):
                # So that the first files come from all packages.
                random.Random(0).shuffle(sources)
                size = 0
                name = f"{split}-{language}.jsonl.gz"
                with gzip.open(Path(temporary, name), "wt", encoding="utf-8", compresslevel=5) as lines:
                    for source in sources:
                        size += len(source.text.encode())
                        lines.write(json.dumps(asdict(source), ensure_ascii=False) + "\n")
                splits[split][language] = {"files": len(sources), "bytes": size}
            statistics: dict[str, object] = {
                "files": sum(entry["files"] for split in splits.values() for entry in split.values()),
                "bytes": sum(entry["bytes"] for split in splits.values() for entry in split.values()),
                "splits": splits,
                "evaluation_runs": len(self._evaluation.runs),
                "dropped": dict(self.dropped.most_common()),
                "packages": self.packages,
            }
            stale = {file.name for file in folder.glob("*.jsonl.gz")}
            for made in Path(temporary).iterdir():
                os.replace(made, folder / made.name)
                stale.discard(made.name)
            for name in stale:
                (folder / name).unlink()
            report = Path(temporary, "statistics.json")
            report.write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
            os.replace(report, folder / report.name)
        return statistics


def build(
    manifest: Path,
    out: Path,
    downloads: Path,
    evaluation: Evaluation,
    console: Console,
    keep_going: bool = False,
) -> dict[str, object]:
    """Fetch, clean and write all packages of the manifest; return the statistics.

    Raises :class:`CorpusError`, which names all packages that cannot be fetched; ``keep_going`` leaves them out.
    """
    packages = read_manifest(manifest)
    columns = (TextColumn("{task.description:38}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    made = Build(evaluation)
    with Progress(*columns, console=console) as progress:
        fetching = progress.add_task("fetch", total=len(packages))
        archives, gone = {}, []
        for package in packages:
            progress.update(fetching, description=f"fetch {package.name[:32]}")
            try:
                archives[package] = fetch(package.kind, package.name, package.version, downloads)
            except FetchError as error:
                gone.append(str(error))
            progress.advance(fetching)
        if gone and not keep_going:
            fix = "\nbuild without them with --keep-going"
            raise CorpusError("these packages could not be fetched:\n  " + "\n  ".join(gone) + fix)
        for complaint in gone:
            console.print(f"left out: {complaint}", markup=False, highlight=False)
        cleaning = progress.add_task("clean", total=len(archives))
        for package, files in archives.items():
            progress.update(cleaning, description=f"clean {package.name[:32]}")
            made.add(package, chain.from_iterable(map(members, files)))
            progress.advance(cleaning)
    return made.write(out)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m model.data.corpus", description="Build the training corpus."
    )
    parser.add_argument("--manifest", type=Path, default=Path(__file__).with_name("manifest.toml"))
    parser.add_argument("--out", type=Path, default=corpus_folder())
    parser.add_argument("--downloads", type=Path, default=cache_folder() / "downloads")
    parser.add_argument("--eval-dir", type=Path, default=SUITES)
    parser.add_argument("--no-decontaminate", action="store_true", help="build without the evaluation data")
    parser.add_argument("--keep-going", action="store_true", help="leave out packages that cannot be fetched")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        if options.no_decontaminate:
            evaluation = Evaluation(())
        else:
            evaluation = Evaluation.load(options.eval_dir)
            if not len(evaluation.runs):
                raise CorpusError(
                    f"there is no evaluation data in {options.eval_dir} to decontaminate against; "
                    "name its folder with --eval-dir, or say --no-decontaminate"
                )
        keep_going = options.keep_going
        statistics = build(options.manifest, options.out, options.downloads, evaluation, console, keep_going)
    except (CorpusError, FetchError) as error:
        console.print(f"corpus: {error}", style="red", markup=False, highlight=False)
        return 1
    print(json.dumps({key: value for key, value in statistics.items() if key != "packages"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes the data of each training step from (seed, step) alone: groups of holes, and their batches of rows.

Owns the choice of files, budgets and holes where contexts are cut as they are needed, what other files are shown beside
(chosen by the server's own `ranking.choose`), and the share of a step's contexts that each of several processes takes.
Where groups come from shards, only noise, block sizes and canvases are drawn here. Cutting imports a parser; streaming
shards does not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.data import Dataset

from mercury_lsp.engine.tokenizer import Prompt, Snippet, Tokenizer
from model.data.groups import Group, encode_group
from model.training.batch import Batch, collate, packed
from model.training.layout import CAUSAL, Context, Weights, lay_out
from model.training.recipe import Recipe

if TYPE_CHECKING:
    from model.data.spans import Beside

SHELVED = 64  # files of a package that are shown beside its others: they stay parsed, in each process
ATTEMPTS = 1000  # at one context; more means that the corpus has nothing to cut


class Groups(Protocol):
    """Where groups of holes come from."""

    def pick(self, number: int, attempt: int) -> Group | None:
        """The group of a run's context of this number, the same each time; None asks for another attempt."""
        ...


class Cuts:
    """Groups cut from the corpus's files of one split, by the server's own prompts."""

    def __init__(
        self, recipe: Recipe, tokenizer: Tokenizer, corpus: Path | None = None, split: str = "train"
    ) -> None:
        from model.data.corpus import iter_documents
        from model.data.package_index import PackageIndex

        self.recipe = recipe
        self.tokenizer = tokenizer
        self.files: dict[str, list[tuple[str, str, str]]] = {language: [] for language in recipe.languages}
        for source in iter_documents(split, list(recipe.languages), corpus):
            self.files[source.language].append((source.package, source.path, source.text))
        self.package_index = PackageIndex((file for files in self.files.values() for file in files), SHELVED)
        self.files = {language: files for language, files in self.files.items() if files}
        if not self.files:
            sys.exit(
                "The corpus has no file of the recipe's languages: run 'python -m model.data.corpus' first."
            )
        self.shares = [recipe.languages[language] for language in self.files]

    def pick(self, number: int, attempt: int) -> Group | None:
        """As `Groups.pick`: one random place in one random file."""
        from model.data.spans import Budget, cut, node_finder

        recipe, count = self.recipe, self.tokenizer.count
        random = Random(f"{recipe.seed}/{number}/{attempt}")
        language = random.choices(list(self.files), self.shares)[0]
        package, path, text = random.choice(self.files[language])
        budget = Budget(random.randint(*recipe.prefix_tokens), random.randint(*recipe.following_tokens))
        header = path if random.random() < recipe.path_share else ""
        nodes = node_finder(path, text)
        beside = self._beside(package, path, random) if random.random() < recipe.related_share else None
        stem_start = self.tokenizer.stem_start
        holes = cut(
            header, text, count, budget, recipe.holes, random, nodes, recipe.kinds, beside, stem_start
        )
        return encode_group(holes, self.tokenizer, language)

    def _beside(self, package: str, path: str, random: Random) -> Beside:
        """Chooses from the package's other files as a server would: from those that are open, with a drawn budget, and
        sometimes from further sources."""
        from mercury_lsp.context.retrieval.ranking import Related, choose
        from mercury_lsp.syntax.document import Document
        from model.data.sources import SERVED, SOURCES, fused

        library = self.package_index.library(package, path, random)
        tokens = random.randint(*self.recipe.related_tokens)
        names = [SERVED]
        if random.random() < self.recipe.other_sources:
            others = [name for name in SOURCES if name != SERVED]
            names += random.sample(others, random.randint(1, len(others)))
        related = Related(tokens, fused(names))

        def beside(text: str, offset: int, shown: Prompt) -> tuple[Snippet, ...]:
            document = Document("", path, "", 0, text)
            return choose(document, offset, shown, library, self.tokenizer.count, related)

        return beside


def found(groups: Groups, number: int) -> Group:
    """The first group that a context's number gives."""
    for attempt in range(ATTEMPTS):
        group = groups.pick(number, attempt)
        if group is not None:
            return group
    sys.exit("The corpus's files are too short: no hole could be cut.")


class Steps(Dataset[tuple[Batch, ...]]):
    """The batches of each step that one of several processes takes, of at most ``recipe.part`` contexts each."""

    def __init__(
        self, recipe: Recipe, tokenizer: Tokenizer, groups: Groups, rank: int = 0, ranks: int = 1
    ) -> None:
        if recipe.contexts % ranks:
            sys.exit(f"A step's {recipe.contexts} contexts cannot be shared evenly by {ranks} processes.")
        self.recipe, self.tokenizer, self.groups = recipe, tokenizer, groups
        self.weights = Weights(**recipe.weights)
        self.share = recipe.contexts // ranks
        self.first = rank * self.share

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[Batch, ...]:
        return self._parts(step, CAUSAL if self.recipe.is_causal(step) else self.weights)

    def causal(self, step: int) -> tuple[Batch, ...]:
        """A step's batches without canvases."""
        return self._parts(step, CAUSAL)

    def _parts(self, step: int, weights: Weights) -> tuple[Batch, ...]:
        recipe = self.recipe
        begin = step * recipe.contexts + self.first
        contexts = [self.context(number, weights) for number in range(begin, begin + self.share)]
        part = recipe.part or len(contexts)
        parts = [contexts[i : i + part] for i in range(0, len(contexts), part)]
        if recipe.packed:
            return tuple(packed(own, recipe.chunk) for own in parts)
        filler = self.tokenizer.specials.eot
        return tuple(collate(own, recipe.rows, filler, recipe.chunk) for own in parts)

    def context(self, number: int, weights: Weights) -> Context:
        """The rows of the run's context of this number."""
        recipe = self.recipe
        noise = Random(f"{recipe.seed}/{number}/noise").getrandbits(62)
        generator = torch.Generator().manual_seed(noise)
        for attempt in range(ATTEMPTS):
            group = self.groups.pick(number, attempt)
            if group is not None:
                masked, canvas_rows = recipe.all_masked, recipe.canvas_rows
                made = lay_out(group, self.tokenizer, recipe.rows, weights, generator, masked, canvas_rows)
                if made is not None:
                    return made
        sys.exit(f"No group of holes fits into a context of {recipe.rows} rows.")

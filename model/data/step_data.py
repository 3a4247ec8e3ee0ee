"""Builds the batches of each training step, from (seed, step) alone.

`Cuts` draws files, budgets and holes from the corpus during training, with related text by the server's own
`ranking.choose_snippets`. If groups come from shards instead, only noise, block sizes and canvases are drawn here.
`Steps` divides the contexts of a step among several processes. Cutting imports a parser; streaming shards does not.
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
from model.training.batch import Batch, collate, pack_contexts
from model.training.layout import CAUSAL, Context, Weights, lay_out
from model.training.recipe import Recipe

if TYPE_CHECKING:
    from model.data.spans import ChooseRelated

# Files of a package that related text may come from at most, since each process keeps them parsed.
MAX_PACKAGE_FILES = 64
# Attempts at one context, after which the corpus is taken to have nothing to cut.
ATTEMPTS = 1000


class Groups(Protocol):
    """A source of groups of holes."""

    def pick(self, number: int, attempt: int) -> Group | None:
        """Return the group for the context of this number, the same at each call; None asks for another attempt."""
        ...


class Cuts:
    """Groups cut from the files of one split of the corpus, with the server's own prompts."""

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
        self.package_index = PackageIndex(
            (file for files in self.files.values() for file in files), MAX_PACKAGE_FILES
        )
        self.files = {language: files for language, files in self.files.items() if files}
        if not self.files:
            sys.exit(
                "The corpus has no file of the recipe's languages: run 'python -m model.data.corpus' first."
            )
        self.shares = [recipe.languages[language] for language in self.files]

    def pick(self, number: int, attempt: int) -> Group | None:
        """Cut a group at one random place in one random file, as `Groups.pick`."""
        from model.data.spans import Budget, cut, node_finder

        recipe, count = self.recipe, self.tokenizer.count
        random = Random(f"{recipe.seed}/{number}/{attempt}")
        language = random.choices(list(self.files), self.shares)[0]
        package, path, text = random.choice(self.files[language])
        budget = Budget(random.randint(*recipe.prefix_tokens), random.randint(*recipe.following_tokens))
        header = path if random.random() < recipe.path_share else ""
        nodes = node_finder(path, text)
        choose_related = (
            self._related_chooser(package, path, random) if random.random() < recipe.related_share else None
        )
        stem_start = self.tokenizer.stem_start
        holes = cut(
            header, text, count, budget, recipe.holes, random, nodes, recipe.kinds, choose_related, stem_start
        )
        return encode_group(holes, self.tokenizer, language)

    def _related_chooser(self, package: str, path: str, random: Random) -> ChooseRelated:
        """Return a function that chooses related text from the package's other files.

        It chooses from open files, as the server does, and sometimes from further sources, within a random budget.
        """
        from mercury_lsp.context.retrieval.ranking import Related, choose_snippets
        from mercury_lsp.syntax.document import Document
        from model.data.sources import SERVED, SOURCES, fused

        library = self.package_index.library(package, path, random)
        tokens = random.randint(*self.recipe.related_tokens)
        names = [SERVED]
        if random.random() < self.recipe.other_sources:
            others = [name for name in SOURCES if name != SERVED]
            names += random.sample(others, random.randint(1, len(others)))
        related = Related(tokens, fused(names))

        def choose_related(text: str, offset: int, shown: Prompt) -> tuple[Snippet, ...]:
            document = Document("", path, "", 0, text)
            return choose_snippets(document, offset, shown, library, self.tokenizer.count, related)

        return choose_related


def pick_group(groups: Groups, number: int) -> Group:
    """Return the first group for the context of this number; exit with a message if there is none."""
    for attempt in range(ATTEMPTS):
        group = groups.pick(number, attempt)
        if group is not None:
            return group
    sys.exit("The corpus's files are too short: no hole could be cut.")


class Steps(Dataset[tuple[Batch, ...]]):
    """The batches of each step for one of several processes, with at most ``recipe.part`` contexts each."""

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
        """Return the batches of a step without canvases."""
        return self._parts(step, CAUSAL)

    def _parts(self, step: int, weights: Weights) -> tuple[Batch, ...]:
        recipe = self.recipe
        begin = step * recipe.contexts + self.first
        contexts = [self.context(number, weights) for number in range(begin, begin + self.share)]
        part = recipe.part or len(contexts)
        parts = [contexts[i : i + part] for i in range(0, len(contexts), part)]
        if recipe.packed:
            return tuple(pack_contexts(own, recipe.chunk) for own in parts)
        filler = self.tokenizer.specials.eot
        return tuple(collate(own, recipe.rows, filler, recipe.chunk) for own in parts)

    def context(self, number: int, weights: Weights) -> Context:
        """Return the rows of the context of this number."""
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

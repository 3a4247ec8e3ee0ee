"""Judges what of the text that the model has committed is worth showing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mercury_lsp.completion.fitting import postprocess
from mercury_lsp.completion.fitting.cutoff import worth_showing
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.engine.api import Infill
from mercury_lsp.syntax.tree import LINE_END, Syntax


@dataclass(frozen=True, slots=True)
class Committed:
    """What the model has written at an offset by some time, and what is needed to judge it."""

    snapshot: Snapshot
    offset: int
    syntax: Syntax
    single_line: bool
    infill: Infill

    @property
    def text(self) -> str:
        """What the model wrote."""
        return self.infill.text

    def judged(self) -> Completion:
        """What of it is worth showing, as if no more came.

        Who did not ask sees as much as has the highest expected gain, see `cutoff`; the whole text with a
        `show_likelihood` of 0.
        """
        whole = self.fitting(self.infill)
        least = self.snapshot.config.show_likelihood
        if whole is None:
            misfit = "nothing of what the model wrote fits there"
            return self._nothing("it looks like a secret" if is_secret(self.text) else misfit)
        if self.snapshot.invoked or not least:
            return whole
        document = self.snapshot.document
        line, column = document.position(self.offset)
        rest = document.line(line)[column:]
        part = worth_showing(self.infill, whole, self.fitting, least, document.eol, rest, self.sound)
        if part is not None:
            return part
        sure = likelihood_of(whole.infill)
        return self._nothing(f"the model is not sure enough of how it begins; all of it has {sure:.2g}")

    def unasked(self) -> Completion:
        """The same for who has not asked."""
        return replace(self, snapshot=replace(self.snapshot, invoked=False)).judged()

    def sound(self, text: str) -> bool:
        """Whether the syntax has no more errors with a text at the cursor than without; so it is in huge documents."""
        if len(self.snapshot.document.text) > postprocess.MAX_PARSED_CHARACTERS:
            return True
        return self.syntax.replaced(self.offset, self.offset, text).errors() <= self.syntax.errors()

    def fitting(self, infill: Infill) -> Completion | None:
        """What fits of a text, with as many of its lines as are shown of it; None where nothing does."""
        document, indentation = self.snapshot.document, self.snapshot.indentation
        shown = postprocess.shown(
            infill.text, document, self.offset, self.syntax, self.single_line, infill.finished, indentation
        )
        if shown is None:
            return None
        judged = infill.first(len(LINE_END.split(shown.text)))
        return Completion(self.infill.text, shown.text, self.offset, shown.end, judged)

    def _nothing(self, reason: str) -> Completion:
        return Completion(self.infill.text, None, self.offset, self.offset, self.infill, reason)


def likelihood(confidence: float, tokens: int) -> float:
    """The probability that the model gives to all of a suggestion's tokens and its end, together.

    `confidence` and `tokens` are `Infill`'s. Of an exact model this is the chance that the user would have written
    just that. A mean over the tokens tells less: a long text is right only where each token is. For the first lines of
    a longer text, what begins the next line counts as their end: it is the chance that the user would have written
    these lines and then gone on to another, whatever that is.
    """
    return confidence**tokens


def likelihood_of(infill: Infill) -> float:
    """The same of a middle."""
    return likelihood(infill.confidence, infill.tokens)


def one_line(config: Config, syntax: Syntax, offset: int) -> bool:
    """Whether a suggestion at an offset has to end with its line."""
    return config.multiline == "never" or (config.multiline == "auto" and not syntax.multiline(offset))

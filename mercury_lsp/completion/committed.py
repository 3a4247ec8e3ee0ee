"""Chooses the part of the committed text that is worth showing."""

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
    """The text that the model has committed so far at an offset, with all that is needed to judge it."""

    snapshot: Snapshot
    offset: int
    syntax: Syntax
    single_line: bool
    infill: Infill

    @property
    def text(self) -> str:
        """The committed text, as the model wrote it."""
        return self.infill.text

    def judged(self) -> Completion:
        """Return the completion to show, as if the committed text were final.

        An automatic request gets the part with the highest expected gain, see `cutoff`. A manual request, or a
        `show_likelihood` of 0, gets all of the text that fits.
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
        """Judge the text as for an automatic request."""
        return replace(self, snapshot=replace(self.snapshot, invoked=False)).judged()

    def sound(self, text: str) -> bool:
        """Return whether a text at the cursor adds no syntax error; documents too large to parse always return True."""
        if len(self.snapshot.document.text) > postprocess.MAX_PARSED_CHARACTERS:
            return True
        return self.syntax.replaced(self.offset, self.offset, text).errors() <= self.syntax.errors()

    def fitting(self, infill: Infill) -> Completion | None:
        """Return a completion of the part of a text that fits, judged by the lines it shows; None if nothing fits."""
        document, indentation = self.snapshot.document, self.snapshot.indentation
        shown = postprocess.shown(
            infill.text, document, self.offset, self.syntax, self.single_line, infill.finished, indentation
        )
        if shown is None:
            return None
        judged = infill.first_lines(len(LINE_END.split(shown.text)))
        return Completion(self.infill.text, shown.text, self.offset, shown.end, judged)

    def _nothing(self, reason: str) -> Completion:
        return Completion(self.infill.text, None, self.offset, self.offset, self.infill, reason)


def likelihood(confidence: float, tokens: int) -> float:
    """Return the joint probability of all tokens of a suggestion, including its stop token.

    `confidence` and `tokens` are those of `Infill`. For a calibrated model this is the chance that the user would have
    written exactly this text. The mean over the tokens says less, because a long text is right only if each token is.
    For the first lines of a longer text, the newline after them counts as the stop token: the value is the chance that
    the user would have written these lines and then any further line.
    """
    return confidence**tokens


def likelihood_of(infill: Infill) -> float:
    """Return the joint probability of an infill, see `likelihood`."""
    return likelihood(infill.confidence, infill.tokens)


def one_line(config: Config, syntax: Syntax, offset: int) -> bool:
    """Return whether a suggestion at an offset must not have several lines."""
    return config.multiline == "never" or (config.multiline == "auto" and not syntax.multiline(offset))

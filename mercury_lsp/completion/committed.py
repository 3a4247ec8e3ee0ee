"""Chooses the part of the committed text that is worth showing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mercury_lsp.completion.fitting import postprocess
from mercury_lsp.completion.fitting.cutoff import choose_cut
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.secrets import is_secret
from mercury_lsp.engine.api import Infill
from mercury_lsp.syntax.tree import LINE_END, Syntax


@dataclass(frozen=True, slots=True)
class CommittedText:
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

    def judge(self) -> Completion:
        """Return the completion to show, as if the committed text were final.

        An automatic request gets the part with the highest expected gain, see `cutoff`. A manual request, or a
        `show_likelihood` of 0, gets all of the text that fits.
        """
        whole = self.fit(self.infill)
        threshold = self.snapshot.config.show_likelihood
        if whole is None:
            misfit = "nothing of what the model wrote fits there"
            return self._withhold("it looks like a secret" if is_secret(self.text) else misfit)
        if self.snapshot.manual or not threshold:
            return whole
        document = self.snapshot.document
        line, column = document.position(self.offset)
        rest = document.line(line)[column:]
        part = choose_cut(self.infill, whole, self.fit, threshold, document.eol, rest, self.is_sound)
        if part is not None:
            return part
        probability = likelihood_of(whole.infill)
        return self._withhold(
            f"the model is not sure enough of how it begins; all of it has {probability:.2g}"
        )

    def judge_as_automatic(self) -> Completion:
        """Judge the text as for an automatic request."""
        return replace(self, snapshot=replace(self.snapshot, manual=False)).judge()

    def is_sound(self, text: str) -> bool:
        """Return whether a text at the cursor adds no syntax error; documents too large to parse always return True."""
        if len(self.snapshot.document.text) > postprocess.MAX_PARSED_CHARACTERS:
            return True
        return self.syntax.replaced(self.offset, self.offset, text).error_count() <= self.syntax.error_count()

    def fit(self, infill: Infill) -> Completion | None:
        """Return a completion of the part of a text that fits, judged by the lines it shows; None if nothing fits."""
        document, indentation = self.snapshot.document, self.snapshot.indentation
        fitted = postprocess.fit(
            infill.text, document, self.offset, self.syntax, self.single_line, infill.finished, indentation
        )
        if fitted is None:
            return None
        shown_infill = infill.first_lines(len(LINE_END.split(fitted.text)))
        return Completion(self.infill.text, fitted.text, self.offset, fitted.end, shown_infill)

    def _withhold(self, reason: str) -> Completion:
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


def is_single_line(config: Config, syntax: Syntax, offset: int) -> bool:
    """Return whether a suggestion at an offset must not have several lines."""
    return config.multiline == "never" or (config.multiline == "auto" and not syntax.allows_multiline(offset))

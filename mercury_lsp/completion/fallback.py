"""Asks a hosted model only if the local model is not sure of its own text.

The local text is reported as progress before anything is sent, so that it is there when the deadline comes, whatever
happens to the request.
"""

from __future__ import annotations

from mercury_lsp.completion.committed import likelihood
from mercury_lsp.engine.api import ALONE, Engine, Infill, Progress, Run, Sampling
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import Unanswered
from mercury_lsp.remote.breaker import RemoteBacked, RemoteStatus
from mercury_lsp.remote.engine import RemoteEngine

LEAST_LIKELIHOOD = 0.11  # of a local text for which no hosted model is asked


class FallbackEngine(RemoteBacked):
    """A local infiller, and a hosted model that it may ask; or, where the settings of that make no sense, why not."""

    def __init__(self, local: Engine, remote: RemoteEngine | str) -> None:
        self.local, self._remote = local, remote
        self.name, self.device, self.threads = local.name, local.device, local.threads
        # Only `infill` asks the hosted model: no memory is sent, and the stem is a part of the prefix there.
        self.vocabulary, self.count, self.stem_start = local.vocabulary, local.count, local.stem_start
        self.prefill, self.alternatives = local.prefill, local.alternatives

    @property
    def remote_status(self) -> RemoteStatus:
        """How it stands with the hosted model."""
        if isinstance(self._remote, str):
            return RemoteStatus("", "open", self._remote)
        return self._remote.remote_status

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = ALONE) -> Infill:
        """Fill in the middle of a prompt, here or, where it may be sent, there. Raises `Cancelled`."""
        here = self.local.infill(prompt, sampling, run)
        if isinstance(self._remote, str) or sampling.here or _surest(here) >= LEAST_LIKELIHOOD:
            return here
        if run.on_progress is not None:
            run.on_progress(Progress(here.text, here.tokens, here.tokens, here.forward_passes, here))
        try:
            there = self._remote.infill(prompt, sampling, Run(run.cancelled))
        except Unanswered:
            return here  # why is in `remote_status`
        return there if _better(there, here) else here


def _surest(infill: Infill) -> float:
    """The probability of a text's first lines, as many as are likeliest: of a longer one these can be shown alone."""
    for count in range(1, len(infill.lines) + 1):
        if (part := infill.first(count)).text.strip():
            return likelihood(part.confidence, part.tokens)
    return likelihood(infill.confidence, infill.tokens)


def _better(there: Infill, here: Infill) -> bool:
    """Whether a hosted model's text is to be shown rather than the local one's.

    By likelihood, where both have one. Without one, that is by convention 1.0: the local text was not likely enough
    for this user to go without asking, so the other is shown, if there is any.
    """
    if not there.text.strip():
        return False
    return _surest(there) > _surest(here) or not here.text.strip()

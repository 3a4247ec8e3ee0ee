"""Asks a hosted model only if the local suggestion is too unlikely.

The local text is reported as progress before anything is sent, so that it can be shown at the deadline even if the
hosted model does not answer.
"""

from __future__ import annotations

from mercury_lsp.completion.committed import likelihood
from mercury_lsp.engine.api import DEFAULT_RUN, Engine, Infill, Progress, Run, Sampling
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.remote.breaker import RemoteBacked, RemoteStatus
from mercury_lsp.remote.engine import RemoteEngine

# A local text that is at least so likely is returned without a request.
MIN_LIKELIHOOD = 0.11


class FallbackEngine(RemoteBacked):
    """A local engine with a hosted fallback. `remote` is an error message if the hosted model's settings are wrong."""

    def __init__(self, local: Engine, remote: RemoteEngine | str) -> None:
        self.local, self._remote = local, remote
        self.name, self.device, self.threads = local.name, local.device, local.threads
        # Only `infill` asks the hosted model: no memory is sent, and the stem is a part of the prefix there.
        self.vocabulary, self.count, self.stem_start = local.vocabulary, local.count, local.stem_start
        self.prefill, self.alternatives = local.prefill, local.alternatives

    @property
    def remote_status(self) -> RemoteStatus:
        """The status of the hosted model."""
        if isinstance(self._remote, str):
            return RemoteStatus("", "open", self._remote)
        return self._remote.remote_status

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        """Infill locally, and by the hosted model if the result is too unlikely and may be sent. Raises `Cancelled`."""
        local = self.local.infill(prompt, sampling, run)
        if (
            isinstance(self._remote, str)
            or sampling.local_only
            or _first_lines_likelihood(local) >= MIN_LIKELIHOOD
        ):
            return local
        if run.on_progress is not None:
            run.on_progress(Progress(local.text, local.tokens, local.tokens, local.forward_passes, local))
        try:
            hosted = self._remote.infill(prompt, sampling, Run(run.cancelled))
        except NoResult:
            # The reason is in `remote_status`.
            return local
        return hosted if _is_better(hosted, local) else local


def _first_lines_likelihood(infill: Infill) -> float:
    """Return the probability of the shortest beginning of whole lines that is not blank, which can be shown alone."""
    for count in range(1, len(infill.lines) + 1):
        if (part := infill.first_lines(count)).text.strip():
            return likelihood(part.confidence, part.tokens)
    return likelihood(infill.confidence, infill.tokens)


def _is_better(hosted: Infill, local: Infill) -> bool:
    """Return whether the hosted model's text is more likely than the local one, or the only one that is not blank.

    A hosted text without probabilities has by convention the likelihood 1.0 and so replaces the unlikely local text.
    """
    if not hosted.text.strip():
        return False
    return _first_lines_likelihood(hosted) > _first_lines_likelihood(local) or not local.text.strip()

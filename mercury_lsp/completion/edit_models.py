"""Makes the larger model that the option `next_edit` names: a hosted model, or an open next-edit model.

The engine and the HTTP client are imported only when a model is made.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from mercury_lsp.completion.rewrites import EditModel
from mercury_lsp.config import Config
from mercury_lsp.edits.formats import MERCURY, Format, format_of
from mercury_lsp.edits.region import Region
from mercury_lsp.engine.api import Progress, Run, Sampling
from mercury_lsp.engine.system import lower_priority
from mercury_lsp.engine.tokenizer import Hint, Prompt
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.remote.outgoing import anonymous_name, blank_outgoing
from mercury_lsp.syntax.document import Document

if TYPE_CHECKING:
    from mercury_lsp.engine.local_engine import LocalEngine
    from mercury_lsp.remote.edits import HostedEdits

# The time limit of an answer, because a large model on a small processor would take too long.
ANSWER_SECONDS = 15.0


def relevant_settings(config: Config) -> tuple[object, ...] | None:
    """Return the settings that require another model when they change; None if no larger model is wanted."""
    match config.next_edit:
        case "off" | "local":
            return None
        case "hosted":
            key = (config.remote_key_env, config.remote_key_command)
            return "hosted", config.remote_url, config.remote_model, key
        case name:
            return name, config.device, config.threads, config.quantization, config.nice


def make(config: Config) -> EditModel:
    """Make the larger model of a configuration that wants one. Raises `RemoteError`, `CheckpointError`."""
    if config.next_edit == "hosted":
        from mercury_lsp.remote.edits import HostedEdits

        return HostedEditModel(HostedEdits.of(config))
    from mercury_lsp.engine.load import load_tagged_engine

    lower_priority(config.nice)
    engine = load_tagged_engine(
        config.next_edit, _format_tokens, config.device, config.threads, config.quantization
    )
    return OpenEditModel(engine, _format_for(engine.name))


def _format_for(name: str) -> Format:
    """Return the prompt format of an open model. Raises `CheckpointError` if it is not known."""
    from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError

    if (found := format_of(name)) is not None:
        return found
    raise CheckpointError(
        f"The model {name} is none whose prompt for the next edit is known: Sweep's Next-Edit (not v2) and Zed's Zeta "
        "(not 2) are, by these names."
    )


def _format_tokens(name: str) -> tuple[str, ...]:
    return _format_for(name).tokens


class HostedEditModel(EditModel):
    """A hosted model in Mercury Edit's format. No secret, no path and no other file is sent to it."""

    format = MERCURY
    here = False

    def __init__(self, model: HostedEdits) -> None:
        self.model = model

    def close(self) -> None:
        """See `EditModel`."""
        self.model.close()

    def clean(self, text: str) -> str:
        """See `EditModel`."""
        return blank_outgoing(text)

    def path(self, document: Document) -> str:
        """Return only the extension of the document's name."""
        return anonymous_name(document.path)

    def ask(
        self, prompt: str, region: Region, max_tokens: int, cancelled: Callable[[], bool]
    ) -> list[str] | None:
        """See `EditModel.ask`."""
        text = self.model.ask(prompt, max_tokens, cancelled)
        return None if text is None else self.format.answer(text)


class OpenEditModel(EditModel):
    """An open next-edit model on this machine. It drafts from the region, because most of the answer repeats it."""

    here = True
    clean = None

    def __init__(self, engine: LocalEngine, format: Format) -> None:
        from mercury_lsp.engine.prompt_layout import TaggedLayout

        assert isinstance(engine.layout, TaggedLayout)
        self.engine, self.format, self._layout = engine, format, engine.layout

    def close(self) -> None:
        """See `EditModel`. The memory is freed after the last request has ended."""

    def path(self, document: Document) -> str:
        """Return the document's path in the workspace, or "untitled"."""
        return document.path or "untitled"

    def ask(
        self, prompt: str, region: Region, max_tokens: int, cancelled: Callable[[], bool]
    ) -> list[str] | None:
        """See `EditModel.ask`. Also returns None if the answer is not complete within `ANSWER_SECONDS`."""
        request_prompt = Prompt("", prompt, "", "")
        if len(self._layout.encode(request_prompt)) + max_tokens > self._layout.positions:
            return None
        deadline = monotonic() + ANSWER_SECONDS
        answer: list[str] | None = None

        def watch(progress: Progress) -> None:
            nonlocal answer
            answer = answer or self.format.rejoined(progress.committed.text, region)

        def stopped() -> bool:
            return answer is not None or cancelled() or monotonic() > deadline

        hint = Hint(self.format.begins + "\n".join(region.editable))
        sampling = Sampling(max_tokens=max_tokens, max_passes=max_tokens)
        try:
            infill = self.engine.infill(request_prompt, sampling, Run(stopped, watch, hint))
        except Cancelled:
            if cancelled():
                raise
            return answer
        return answer or (self.format.answer(infill.text) if infill.finished else None)

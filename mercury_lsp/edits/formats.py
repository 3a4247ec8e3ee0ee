"""Writes the prompts of published next-edit models, and reads their answers: the rewritten lines of a region.

`MERCURY` is the format of Mercury Edit, for POST /v1/edit/completions (docs.inceptionlabs.ai, "Next Edit"): one message
with three sections, which are snippets, the current file with the lines to edit, and the history of edits as unified
diffs. The answer is in a fence of three backticks.

`SWEEP` is the format of the first version of Sweep's Next-Edit models (blog.sweep.dev, "Open sourcing a 1.5B parameter
Next-Edit Autocomplete Model"; model card of sweepai/sweep-next-edit-1.5B): blocks after <|file_sep|>, which are the
edits, then 21 lines before the last edit, the same lines now, and their next version, which the model writes.

`ZETA` is the format of Zed's first Zeta, a Qwen2.5-Coder (zed-industries/zeta on Hugging Face; crates/zeta in Zed's
repository): an instruction, the edits as diffs, and an excerpt with a marked region, which the model writes again with
its marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mercury_lsp.edits.region import Change, Region

FENCE = "```"
# The number of lines of an answer that must equal the region's lines for the rest of it to be taken as unchanged.
REJOINED_LINES = 2


@dataclass(frozen=True, slots=True)
class Format:
    """The prompt format of a family of models.

    `marks`: strings that no text in a prompt may contain. `tokens`: the marks that are single tokens. `begins`: the
    start of an answer before the region's lines. `stops`: marks that end the answer.
    """

    marks: tuple[str, ...]
    written: Callable[[str, Region, Sequence[Change]], str]
    read: Callable[[str], list[str] | None]
    tokens: tuple[str, ...] = ()
    begins: str = ""
    stops: tuple[str, ...] = ()

    def prompt(self, path: str, region: Region, changes: Sequence[Change]) -> str | None:
        """Return the prompt; None if the path, the region or a change contains a mark of the format."""
        texts = [path, *region.lines, *(line for one in changes for line in (*one.old, *one.new))]
        if "\n" in path or any(mark in text for text in texts for mark in self.marks):
            return None
        return self.written(path, region, changes)

    def answer(self, text: str) -> list[str] | None:
        """Return the region's new lines in an answer; None if the answer does not have the format."""
        for stop in self.stops:
            text = text.partition(stop)[0]
        lines = self.read(text.replace("\r\n", "\n"))
        if lines is None or not any(line.strip() for line in lines):
            return None
        return None if any(mark in line for line in lines for mark in self.marks) else lines

    def rejoined(self, text: str, region: Region) -> list[str] | None:
        """Return the region's new lines once an unfinished answer repeats the old lines again after an edit; else None.

        The last lines of the answer then equal lines of the region after the first difference, and the lines after
        those are taken as unchanged. So the model need not write the rest of the region; a second edit is left to the
        next request.
        """
        _, begun, rest = text.partition(self.begins) if self.begins else ("", True, text)
        old, new = region.editable, rest.split("\n")[:-1] if begun else []
        same = next(
            (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
        )
        tail = new[-REJOINED_LINES:]
        if len(new) - same < REJOINED_LINES or not any(line.strip() for line in tail):
            return None
        for at in range(same, len(old) - REJOINED_LINES + 1):
            if list(old[at : at + REJOINED_LINES]) == tail:
                return [*new, *old[at + REJOINED_LINES :]]
        return None


def _diff(path: str, change: Change) -> str:
    """Return a change as a unified diff without context."""
    place = f"@@ -{change.first + 1},{len(change.old)} +{change.first + 1},{len(change.new)} @@"
    lines = [*(f"-{line}" for line in change.old), *(f"+{line}" for line in change.new)]
    return "\n".join([f"--- {path}", f"+++ {path}", place, *lines])


MERCURY_CURSOR = "<|cursor|>"
MERCURY_EDITABLE = ("<|code_to_edit|>", "<|/code_to_edit|>")
MERCURY_SECTIONS = ("recently_viewed_code_snippets", "current_file_content", "edit_diff_history")


def _mercury(path: str, region: Region, changes: Sequence[Change]) -> str:
    file = [
        f"current_file_path: {path}",
        *region.above,
        MERCURY_EDITABLE[0],
        *region.with_mark(MERCURY_CURSOR),
        MERCURY_EDITABLE[1],
        *region.below,
    ]
    history = "".join(f"{_diff(path, change)}\n\n" for change in changes)
    contents = ("\n", "\n".join(file) + "\n", history or "\n")
    sections = zip(MERCURY_SECTIONS, contents, strict=True)
    return "\n\n".join(f"<|{name}|>\n{content}<|/{name}|>" for name, content in sections)


def _mercury_answer(text: str) -> list[str] | None:
    """Return the lines between the first fence and the last, without the region's marks."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.startswith(FENCE)]
    if len(fences) < 2 or lines[fences[-1]].strip() != FENCE:
        return None
    inside = [line for line in lines[fences[0] + 1 : fences[-1]] if line.strip() not in MERCURY_EDITABLE]
    return [line.replace(MERCURY_CURSOR, "") for line in inside]


SWEEP_FILE = "<|file_sep|>"
SWEEP_END = "<|endoftext|>"


def _sweep(path: str, region: Region, changes: Sequence[Change]) -> str:
    blocks = [
        f"{path}.diff\noriginal:\n" + "\n".join(one.old) + "\nupdated:\n" + "\n".join(one.new)
        for one in changes
    ]
    blocks.append(f"original/{path}\n" + "\n".join(_before(region, changes)))
    blocks.append(f"current/{path}\n" + "\n".join(region.editable))
    return "".join(f"{SWEEP_FILE}{block}\n" for block in [*blocks, f"updated/{path}"])


def _before(region: Region, changes: Sequence[Change]) -> list[str]:
    """Return the region's lines before the last change; unchanged if that change is not in the region."""
    lines = list(region.editable)
    if changes:
        last = changes[-1]
        at = last.first - region.first
        if at >= 0 and tuple(lines[at : at + len(last.new)]) == last.new:
            lines[at : at + len(last.new)] = last.old
    return lines


ZETA_CURSOR = "<|user_cursor_is_here|>"
ZETA_START = "<|start_of_file|>"
ZETA_EDITABLE = ("<|editable_region_start|>", "<|editable_region_end|>")
_ZETA_TASK = (
    "You are a code completion assistant and your task is to analyze user edits and then rewrite an excerpt that the "
    "user provides, suggesting the appropriate edits within the excerpt, taking into account the cursor location."
)


def _zeta(path: str, region: Region, changes: Sequence[Change]) -> str:
    edits = []
    for change in changes:
        _, _, diff = _diff(path, change).split("\n", 2)
        edits.append(f'User edited "{path}":\n{FENCE}diff\n{diff}\n{FENCE}')
    excerpt = [
        f"{FENCE}{path}",
        *([ZETA_START] if region.top == 0 else []),
        *region.above,
        ZETA_EDITABLE[0],
        *region.with_mark(ZETA_CURSOR),
        ZETA_EDITABLE[1],
        *region.below,
        FENCE,
    ]
    parts = ("Instruction:\n" + _ZETA_TASK, "User Edits:\n\n" + "\n\n".join(edits))
    last = ("User Excerpt:\n\n" + "\n".join(excerpt), "Response:\n")
    return "\n\n".join(f"### {part}" for part in (*parts, *last))


def _zeta_answer(text: str) -> list[str] | None:
    """Return the lines between the region's marks."""
    _, begun, rest = text.partition(ZETA_EDITABLE[0] + "\n")
    inside, ended, _ = rest.partition("\n" + ZETA_EDITABLE[1])
    return inside.replace(ZETA_CURSOR, "").split("\n") if begun and ended else None


MERCURY = Format(
    (
        MERCURY_CURSOR,
        *MERCURY_EDITABLE,
        *(mark for name in MERCURY_SECTIONS for mark in (f"<|{name}|>", f"<|/{name}|>")),
    ),
    _mercury,
    _mercury_answer,
)
SWEEP = Format(
    (SWEEP_FILE, SWEEP_END),
    _sweep,
    lambda text: text.split("\n"),
    tokens=(SWEEP_FILE,),
    stops=(SWEEP_FILE, SWEEP_END),
)
ZETA = Format(
    (ZETA_CURSOR, ZETA_START, *ZETA_EDITABLE),
    _zeta,
    _zeta_answer,
    begins=f"{ZETA_EDITABLE[0]}\n",
)


def format_of(name: str) -> Format | None:
    """Return the format of an open model by its folder's or GGUF file's name; None if it is unknown.

    Later versions of both families have other formats.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    for number, word in enumerate(words):
        version = (words[number + 1 : number + 2] or ["1"])[0]
        if version in ("2", "v2"):
            continue
        if word == "zeta":
            return ZETA
        if word == "edit" and words[number - 1] == "next" and "sweep" in words:
            return SWEEP
    return None

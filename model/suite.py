r"""Suites of infilling tasks: where they lie, what a task is, and how it becomes a document and a program.

A task comes as a JSON object with ``task_id``, ``entry_point``, ``prompt``, ``suffix``,
``canonical_solution`` and ``test``, one on each line of a gzip file (the form of human-eval-infilling,
Bavarian et al. 2022). Its program is prompt + completion + suffix + test. Knows neither the model nor how a
program is run.

In most tasks the text is cut in two at the cursor as it stands. In tasks of single-line infilling (an id
that starts with ``SingleLineInfilling``) the prompt ends with a line's end and the suffix starts with the
next line, so the editor's document is prompt + cursor + "\n" + suffix: the cursor stands on an empty line.
The completion is what the model says up to the first line end after its first visible character, and gets
that "\n" back in the program.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random

FOLDER = (
    Path(__file__).resolve().parents[2] / "shared" / "eval"
)  # beside the checkout; its README tells the origin
FILES = {
    "single-line": "HumanEval-SingleLineInfilling.jsonl.gz",
    "random-span": "HumanEval-RandomSpanInfillingLight.jsonl.gz",
}
LATER = ("humaneval", "java", "javascript", "typescript", "php", "cpp")


class SuiteError(Exception):
    """There are no such tasks; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Task:
    """One hole, with a test of the program that it is filled to. The fields are those of the file."""

    task_id: str
    entry_point: str
    prompt: str
    suffix: str
    canonical_solution: str
    test: str

    @property
    def single_line(self) -> bool:
        """Whether one whole line is missing."""
        return self.task_id.startswith("SingleLineInfilling")

    @property
    def before(self) -> str:
        """The document's text left of the cursor."""
        return self.prompt

    @property
    def after(self) -> str:
        """The document's text right of the cursor."""
        return "\n" + self.suffix if self.single_line else self.suffix

    def completion(self, text: str) -> str:
        """What stands between prompt and suffix in the program when the model says ``text``."""
        if not self.single_line:
            return text
        line = re.match(r"\s*[^\n]*", text)
        return (line.group() if line else "") + "\n"

    def program(self, completion: str) -> str:
        """The program that passes, if the completion is right."""
        return f"{self.prompt}{completion}{self.suffix}\n{self.test}\ncheck({self.entry_point})\n"

    def exact(self, completion: str) -> bool:
        """Whether the completion is the author's, but for white space at its end."""
        return completion.rstrip() == self.canonical_solution.rstrip()


def load(suite: str) -> list[Task]:
    """The tasks of a suite by name, or of a file, in their order. Raises `SuiteError`."""
    if suite in LATER:
        raise SuiteError(
            f"The suite {suite} comes with a later release; now there are {' and '.join(FILES)}."
        )
    path = FOLDER / FILES[suite] if suite in FILES else Path(suite)
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            tasks = list(_read(path, file))
    except FileNotFoundError as error:
        if suite in FILES:
            raise SuiteError(f"The suite {suite} is not at {path}; name its file instead.") from error
        raise SuiteError(f"There is no suite or file {suite!r}; suites are {' and '.join(FILES)}.") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path} cannot be read as a gzip file of tasks: {error}.") from error
    if not tasks:
        raise SuiteError(f"{path} has no task in it.")
    return tasks


def _read(path: Path, lines: Iterator[str]) -> Iterator[Task]:
    names = [field.name for field in fields(Task)]
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except ValueError as error:
            raise SuiteError(f"{path}, line {number} is no JSON: {error}.") from error
        found = values if isinstance(values, dict) else {}
        for name in names:
            if not isinstance(found.get(name), str):
                raise SuiteError(f"{path}, line {number} is no infilling task: it has no text {name!r}.")
        yield Task(**{name: found[name] for name in names})


def sample(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """``limit`` tasks drawn with the seed, ever the same; without a limit all of them, in their order."""
    if limit is None or limit >= len(tasks):
        return list(tasks)
    return Random(seed).sample(tasks, limit)

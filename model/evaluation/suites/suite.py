r"""Reads suites of tasks, and builds the document and the program of a task.

There are two kinds of tasks, each a JSON object on a line of a gzip file. *Infilling* (the format of
human-eval-infilling, Bavarian et al. 2022): a ``suffix`` follows the missing text. *Whole functions* (the formats of
human-eval, Chen et al. 2021, and of mxeval, Athiwaratkun et al. 2022, with a ``language``): there is no suffix, and
only some tasks have a ``canonical_solution``. A task's program is prompt + completion + suffix + test and, in Python, a
call of the test's ``check``.

In most infilling tasks, the document is prompt + cursor + suffix. In single-line infilling (the id starts with
``SingleLineInfilling``), the prompt ends with a line end and the suffix starts with the next line, so the document is
prompt + cursor + "\n" + suffix: the cursor is on an empty line. The completion is the model's text up to the first line
end after its first visible character, and gets this "\n" back in the program.

For a whole function, the completion is the model's text up to the end of the function. The program also gets the
closing braces for those that the prompt left open: in Java, that of the class. Solved examples, if any, are in the
document between the head of the file (such as imports) and the task, but not in the program.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from model import SUITES
from model.evaluation.suites import functions

FOLDER = SUITES
FILES = {
    "single-line": "HumanEval-SingleLineInfilling.jsonl.gz",
    "random-span": "HumanEval-RandomSpanInfillingLight.jsonl.gz",
    "humaneval": "HumanEval.jsonl.gz",
    "java": "MultiHumanEval-java.jsonl.gz",
    "javascript": "MultiHumanEval-javascript.jsonl.gz",
    "typescript": "MultiHumanEval-typescript.jsonl.gz",
    "php": "MultiHumanEval-php.jsonl.gz",
    "cpp": "MBXP-cpp.jsonl.gz",
}
_HEAD = re.compile(r"(?:(?:<\?php|from\b|import\b|#include\b|using\b)[^\n]*\n|[ \t]*\n)*")
_TEXTS = ("task_id", "entry_point", "prompt", "test")


class SuiteError(Exception):
    """The tasks cannot be read; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Task:
    """One hole or one function, with a test of the resulting program.

    The fields are those of the file, except for ``examples``, the solved examples in the document. If ``suffix`` is
    None, the task is a whole function.
    """

    task_id: str
    entry_point: str
    prompt: str
    suffix: str | None
    canonical_solution: str | None
    test: str
    language: str = "python"
    examples: str = ""

    @property
    def single_line(self) -> bool:
        """Whether one whole line is missing."""
        return self.task_id.startswith("SingleLineInfilling")

    @property
    def function(self) -> bool:
        """Whether a whole function is missing, with nothing after it."""
        return self.suffix is None

    @property
    def before(self) -> str:
        """The document's text before the cursor."""
        if not self.examples:
            return self.prompt
        head = _HEAD.match(self.prompt)
        at = head.end() if head else 0
        return f"{self.prompt[:at]}{self.examples}\n\n{self.prompt[at:]}"

    @property
    def after(self) -> str:
        """The document's text after the cursor."""
        suffix = self.suffix or ""
        return "\n" + suffix if self.single_line else suffix

    def completion(self, text: str) -> str:
        """Return the text between prompt and suffix in the program. text: the model's answer."""
        if self.function:
            return functions.cut(self.language, self.prompt, text)
        if not self.single_line:
            return text
        line = re.match(r"\s*[^\n]*", text)
        return (line.group() if line else "") + "\n"

    def program(self, completion: str) -> str:
        """Return the program, which passes if the completion is right."""
        around = functions.closing(self.language, self.prompt) if self.function else ""
        call = f"check({self.entry_point})\n" if self.language == "python" else ""
        return f"{self.prompt}{completion}{around}{self.suffix or ''}\n{self.test}\n{call}"

    def exact(self, completion: str) -> bool | None:
        """Return whether the completion is the author's, apart from trailing whitespace; None if that is not known."""
        if self.canonical_solution is None:
            return None
        return completion.rstrip() == self.canonical_solution.rstrip()


def load(suite: str) -> list[Task]:
    """Read the tasks of a suite by name, or of a file, in order. Raises `SuiteError`."""
    path = FOLDER / FILES[suite] if suite in FILES else Path(suite)
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            tasks = list(_read(path, file))
    except FileNotFoundError as error:
        if suite in FILES:
            raise SuiteError(f"The suite {suite} is not at {path}; name its file instead.") from error
        *names, last = FILES
        raise SuiteError(
            f"There is no suite or file {suite!r}; suites are {', '.join(names)} and {last}, or all."
        ) from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path} cannot be read as a gzip file of tasks: {error}.") from error
    if not tasks:
        raise SuiteError(f"{path} has no task in it.")
    if len({task.language for task in tasks}) > 1:
        raise SuiteError(f"{path} has tasks of several languages; a suite is of one.")
    return tasks


def _read(path: Path, lines: Iterator[str]) -> Iterator[Task]:
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
        except ValueError as error:
            raise SuiteError(f"{path}, line {number} is no JSON: {error}.") from error
        found: dict[str, Any] = values if isinstance(values, dict) else {}
        infilling = ("suffix", "canonical_solution") if "suffix" in found else ()
        for name in (*_TEXTS, *infilling):
            if not isinstance(found.get(name), str):
                raise SuiteError(f"{path}, line {number} is no task: it has no text {name!r}.")
        language = found.get("language", "python")
        if language not in functions.LANGUAGES:
            raise SuiteError(f"{path}, line {number} is in {language!r}, which is not run here.")
        solution = found.get("canonical_solution")
        yield Task(
            **{name: found[name] for name in _TEXTS},
            suffix=found.get("suffix"),
            canonical_solution=solution if isinstance(solution, str) else None,
            language=language,
        )


def sample(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """Draw ``limit`` tasks with the seed; without a limit, return all tasks in order."""
    if limit is None or limit >= len(tasks):
        return list(tasks)
    return Random(seed).sample(tasks, limit)


def with_examples(tasks: Sequence[Task], examples: str) -> list[Task]:
    """Return the same tasks with solved examples in their documents."""
    return [replace(task, examples=examples) for task in tasks]

"""Whole functions are written by one completion after another, up to the end of the function."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from test_suite import FUNCTION, METHOD

from mercury_lsp.engine.api import DEFAULT_RUN, UNDECIDED, Infill, Progress, Run, Sampling
from mercury_lsp.engine.tokenizer import Prompt
from model.evaluation.suites.answers import write
from model.evaluation.suites.suite import Task


class ScriptedEngine:
    """Returns the given completions in order; each character is a token, and each pass shows one more line."""

    def __init__(self, *completions: str) -> None:
        self.completions = list(completions)
        self.asked: list[str] = []
        self.limits: list[int] = []

    def stem_start(self, text: str) -> int:
        return len(text)

    def count(self, text: str) -> int:
        return len(text)

    def prefill(self, prompt: Prompt) -> int:
        return 0

    def infill(self, prompt: Prompt, sampling: Sampling, run: Run = DEFAULT_RUN) -> Infill:
        self.asked.append(prompt.prefix)
        self.limits.append(sampling.max_tokens)
        text = self.completions.pop(0) if self.completions else ""
        lines = text.splitlines(keepends=True)
        infill = Infill(
            text=text,
            tokens=len(text),
            steps=len(lines),
            forward_passes=max(1, len(lines)),
            ms=1.0,
            ms_prefill=0.0,
            ms_denoise=1.0,
            cached_tokens=0,
            prompt_tokens=0,
            confidence=1.0,
            finished=True,
        )
        for passes in range(1, len(lines) + 1):
            if run.on_progress is not None:
                shown = "".join(lines[:passes]) + UNDECIDED * (passes < len(lines))
                run.on_progress(Progress(shown, passes, len(lines), passes, infill))
        return infill


def write_function(engine: ScriptedEngine, task: Task = FUNCTION, tokens: int = 400) -> Infill:
    return write(engine, task, Sampling(max_tokens=tokens), "solution.py")


def test_each_completion_is_added_to_the_prefix() -> None:
    engine = ScriptedEngine("    y = x\n", "    y += x\n", "    return y", "")
    infill = write_function(engine)
    assert infill.text == "    y = x\n    y += x\n    return y\n"
    assert infill.finished
    assert [asked.removeprefix(engine.asked[0]) for asked in engine.asked] == [
        "",
        "    y = x\n",
        "    y = x\n    y += x\n",
        "    y = x\n    y += x\n    return y",
        "    y = x\n    y += x\n    return y\n",  # a line break is added, like by the Enter key
    ]
    assert engine.limits == [400 - len(asked.removeprefix(engine.asked[0])) for asked in engine.asked]
    assert infill.forward_passes == 5


def test_the_engine_is_stopped_at_the_end_of_the_function() -> None:
    engine = ScriptedEngine("    return 2 * x\n\n\ndef other():\n    a = 1\n    b = 2\n    return a + b\n")
    infill = write_function(engine)
    assert "b = 2" not in infill.text
    assert FUNCTION.completion(infill.text).rstrip() == "    return 2 * x"
    assert infill.tokens == len(FUNCTION.completion(infill.text))
    assert infill.forward_passes < 8
    assert len(engine.asked) == 1
    assert infill.finished


def test_the_closing_brace_ends_a_function_in_other_languages() -> None:
    infill = write_function(ScriptedEngine("        return 2 * x;\n", "    }\n}\n"), METHOD)
    assert METHOD.completion(infill.text) == "        return 2 * x;\n    }"
    assert infill.finished
    assert not write_function(ScriptedEngine("        return 2 * x;\n"), METHOD).finished


@pytest.mark.parametrize(
    ("completions", "tokens"),
    [
        (["    x += 1\n"] * 50, 400),  # the same line repeated
        ([f"    x += {i}\n" for i in range(50)], 60),  # the limit of tokens
    ],
)
def test_endless_functions_are_stopped(completions: Sequence[str], tokens: int) -> None:
    engine = ScriptedEngine(*completions)
    infill = write_function(engine, tokens=tokens)
    assert not infill.finished
    assert len(engine.asked) < 10


def test_an_empty_completion_ends_the_function() -> None:
    engine = ScriptedEngine()
    assert write_function(engine).text == ""
    assert len(engine.asked) == 1

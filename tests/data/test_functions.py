"""The ends of functions, with any strings and comments, and in unfinished text."""

from __future__ import annotations

import pytest

from model.evaluation.suites.functions import LANGUAGES, closing, cut, end, is_looping
from model.evaluation.suites.suite import FILES, FOLDER, load, sample

PYTHON = 'def f(x):\n    """Say x."""\n'
JAVA = "import java.util.*;\n\nclass Box {\n    /** It's { open. */\n    static int f(String s) {\n"
BRACES = "/** Don't count { here. */\nfunction f(x) {\n"

ENDED = [
    ("python", PYTHON, "    return x\n", "\ndef g():\n    return 1\n"),
    ("python", PYTHON, "    return x\n\n", "print(f(1))"),
    ("python", PYTHON, '    s = """\nnot here\n"""\n    return s\n', "x = 1\n"),
    ("python", PYTHON, "    s = [\n1,\n]\n    return s\n", "@g\ndef h(): pass"),
    ("python", PYTHON, "    s = '['\n    # (\n    return s\n", "x"),
    ("python", PYTHON, "    s = 1 + \\\n2\n    return s\n", "x"),
    ("python", PYTHON, "    if x:\n# a note\n        return 1\n", "x"),
    ("python", "def f(x): return ", "x\n", "y"),
    ("python", PYTHON, "", "return x"),
    ("javascript", BRACES, "    return `}${x}`;\n}", "\nf(1);"),
    ("javascript", BRACES, "    return /[}/]'\\}/.test(x) ? 4 / 2 : '}';\n}", "\n"),
    ("javascript", BRACES, "    // }\n    /* } */ return {a: {}};\n}", " /* } */"),
    ("typescript", "const f = function (x: {a: number}): number {\n", "  return x.a / 2; // '\n}", ";"),
    ("php", "<?php\nfunction f($x) {\n", "    return \"a {$x}\n }\" . '}'; # }\n}", "\n"),
    (
        "cpp",
        "int f() {\n",
        "    auto s = R\"x(})\" })x\"; char c = '}'; int n = 1'000; return n;\n}",
        "\nint main() {}",
    ),
    ("cpp", "int f(int x)\n", "{\n    if (x) { return 1; }\n    return 2;\n}", "\n}"),
    (
        "java",
        JAVA,
        '        String t = """\n            }" }\n            """;\n        return 1;\n    }',
        "\n}",
    ),
    (
        "java",
        JAVA,
        "        char c = '\\'', d = '}';\n        for (;;) { break; }\n        return 1;\n    }",
        "\n\n}",
    ),
]


@pytest.mark.parametrize(("language", "beginning", "own", "more"), ENDED)
def test_the_end_of_a_function_is_found(language: str, beginning: str, own: str, more: str) -> None:
    text = own + more
    kept = cut(language, beginning, text)
    assert kept.rstrip() == own.rstrip()
    ended = end(language, beginning, text)
    assert ended is not None
    # The end found in an unfinished text is never another one.
    for length in range(len(text)):
        assert end(language, beginning, text[:length]) in ({None} if length < ended else {None, ended})


@pytest.mark.parametrize(
    ("language", "beginning", "text"),
    [
        ("python", PYTHON, "    return x\n"),
        ("python", PYTHON, "    s = '''\nx"),
        ("java", JAVA, "        if (s.isEmpty()) {\n            return 1;\n        }\n"),
        ("javascript", BRACES, "    return `}"),
        ("cpp", "int f() {\n", '    return R"x( } '),
    ],
)
def test_an_unfinished_function_has_no_end(language: str, beginning: str, text: str) -> None:
    assert end(language, beginning, text) is None
    assert cut(language, beginning, text) == text


def test_the_class_around_a_function_is_closed() -> None:
    assert closing("java", JAVA) == "\n}"
    assert closing("javascript", BRACES) == closing("python", PYTHON) == closing("cpp", "int f()\n") == ""


def test_repeated_lines_are_distinguished_from_similar_ones() -> None:
    assert is_looping("    a = 1\n" + "    b = 2\n" * 5)
    assert is_looping("x\n" + "    if a {\n        b;\n    }\n" * 5)
    assert not is_looping("    b = 2\n" * 4)
    assert not is_looping("".join(f"    b[{i}] = 2\n" for i in range(9)))
    assert not is_looping("    x = 1                              ")
    assert not is_looping("")


@pytest.mark.parametrize("suite", ["humaneval", "cpp"])
def test_canonical_solutions_are_kept_whole(suite: str) -> None:
    if not (FOLDER / FILES[suite]).exists():
        pytest.skip(f"the evaluation data is not at {FOLDER}")
    tasks = [task for task in load(suite) if task.canonical_solution]
    assert {task.language for task in tasks} <= set(LANGUAGES)
    for task in sample(tasks, 100, 0):
        solution = task.canonical_solution or ""
        kept = cut(task.language, task.prompt, f"{solution}\n{task.test}")
        assert kept.rstrip() == solution.rstrip(), task.task_id

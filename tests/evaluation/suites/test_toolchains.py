"""Toolchains: finding them, and running programs of each language within limits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.evaluation.suites import toolchains
from model.evaluation.suites.execute import Limits, run
from model.evaluation.suites.toolchains import RECIPES, ToolchainError, Tools, find, folder_of

RIGHT = {
    "java": "class Twice { static int of(int x) { return 2 * x; } }\n"
    "class Main { public static void main(String[] a) throws Exception {\n"
    '  if (Twice.of(3) != 6) throw new Exception("test case 0 did not pass");\n} }\n',
    "javascript": 'const _ = require("lodash");\nif (!_.isEqual([6], [3].map((x) => 2 * x))) throw "Error 0";\n',
    "typescript": "import * as assert from 'assert'\nimport * as math from 'mathjs'\n"
    "const twice = function (x: number) : number { return 2 * x; }\n"
    'assert.deepEqual([twice(3), math.gcd(4, 6)], [6, 2], "test case 0 failed");\n',
    "php": '<?php\nfunction twice($x) { return 2 * $x; }\nif (twice(3) != 6) { throw new Exception("Error 0"); }\n',
    "cpp": "#include <bits/stdc++.h>\nusing namespace std;\nint twice(int x) { return 2 * x; }\n"
    'int main() { if (twice(3) != 6) throw runtime_error("test case 0"); vector<int> v{1}; return 0; }\n',
}
WRONG = {
    "java": "test case 0 did not pass",
    "javascript": "Error 0",
    "typescript": "test case 0",
    "php": "Error 0",
    "cpp": "SIGABRT",
}
BROKEN = {
    "java": "compiling: ",
    "javascript": "SyntaxError",
    "typescript": "compiling: ",
    "php": "Parse error",
    "cpp": "compiling: ",
}


def tools(language: str) -> Tools:
    try:
        return find(language, folder_of())
    except ToolchainError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("language", RECIPES)
def test_right_programs_pass_and_wrong_ones_fail_in_each_language(language: str) -> None:
    mine = tools(language)
    assert run(RIGHT[language], tools=mine).error == ""
    wrong = run(RIGHT[language].replace("2 * ", "3 * "), tools=mine)
    assert not wrong.passed
    assert WRONG[language] in wrong.error


@pytest.mark.parametrize("language", RECIPES)
def test_a_program_with_a_syntax_error_fails(language: str) -> None:
    outcome = run(RIGHT[language].replace("2 *", "2 * * )"), tools=tools(language))
    assert BROKEN[language] in outcome.error


def test_a_type_error_of_typescript_fails() -> None:
    outcome = run("let x: number = 'a';\n", tools=tools("typescript"))
    assert "TS2322" in outcome.error


def test_the_error_names_missing_tools_and_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for language, recipe in RECIPES.items():
        with pytest.raises(ToolchainError) as raised:
            find(language, tmp_path)
        said = str(raised.value)
        assert said.startswith(f"{language}: ")
        assert f"{recipe.steps[0].command[0]} is not on the PATH" in said
        assert "apt-get install" in said
    with pytest.raises(
        ToolchainError, match=f"lodash is not in {tmp_path}/node_modules.*npm install --prefix {tmp_path} "
    ):
        find("javascript", tmp_path)


def test_tools_in_the_folder_precede_those_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    mine = tmp_path / "bin" / "php"
    mine.write_text("#!/bin/sh\nexit 0\n")
    mine.chmod(0o755)
    monkeypatch.setenv(toolchains.VARIABLE, str(tmp_path))
    assert folder_of() == tmp_path
    assert folder_of("/else") == Path("/else")
    found = find("php", folder_of())
    assert found.steps[0].command[0] == str(mine)
    assert run("anything", tools=found).passed


def test_the_precompiled_header_is_built_once() -> None:
    command = tools("cpp").steps[0].command
    (folder,) = (Path(word.removeprefix("-I")) for word in command if word.startswith("-I"))
    made = folder / "bits" / "stdc++.h.gch"
    before = made.stat().st_mtime_ns
    find("cpp", folder_of())
    assert made.stat().st_mtime_ns == before
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [made.name]


@pytest.mark.parametrize(
    ("language", "program"),
    [
        ("php", "<?php while (true) {}"),
        ("cpp", "#include <bits/stdc++.h>\nint main() { for (;;) sleep(9); }"),
        ("javascript", "while (true) {}"),
    ],
)
def test_an_endless_program_is_stopped(language: str, program: str) -> None:
    program = program.replace("<bits/stdc++.h>", "<unistd.h>")
    error = run(program, Limits(seconds=1), tools(language)).error
    assert error.startswith(("timed out", "killed by SIGXCPU", "killed by SIGKILL"))


@pytest.mark.parametrize(
    ("language", "program"),
    [
        ("php", "<?php ini_set('memory_limit', -1); $a = str_repeat('x', 3 << 30);"),
        ("javascript", "const a = []; for (let i = 0; i < 9; i++) a.push(Buffer.alloc(1 << 30, 1));"),
        ("java", "class Main { public static void main(String[] a) { byte[][] b = new byte[9][1 << 28]; } }"),
        (
            "cpp",
            "#include <cstdlib>\n#include <cstring>\nint main() { memset(malloc(3L << 30), 1, 3L << 30); }",
        ),
    ],
)
def test_memory_is_limited(language: str, program: str) -> None:
    assert not run(program, tools=tools(language)).passed


def test_programs_cannot_change_other_files(tmp_path: Path) -> None:
    """The kernel's Landlock protects them, if available."""
    if not Path("/sys/kernel/security").exists() or shutil.which("php") is None:
        pytest.skip("no Landlock, or no PHP")
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    program = "<?php file_put_contents('own.txt', 'x'); if (@file_put_contents('{}', 'y')) exit(9);"
    program += " if (@unlink('{}')) exit(8); if (@rename('{}', 'here')) exit(7);"
    assert run(program.replace("{}", str(mine)), tools=tools("php")).error == ""
    assert mine.read_text() == "precious"


def test_programs_have_no_network() -> None:
    program = (
        "<?php foreach (net_get_interfaces() as $name => $it) { if ($name != 'lo' || $it['up']) exit(3); }"
    )
    outcome = run(program, tools=tools("php"))
    if outcome.error == "exited with 3":
        pytest.skip("this kernel permits no network namespace here")
    assert outcome.error == ""

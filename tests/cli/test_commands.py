"""The commands, as their users run them, over real networks."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.models.tiny_open_models import save_open
from support.servers.completion_server import serving, writes

from mercury_lsp.bench import keystrokes
from mercury_lsp.bench.editor import Buffer, Editor
from mercury_lsp.bench.keystrokes import Measurements, build_context
from mercury_lsp.bench.scenes import SAMPLES_FOLDER, long_lines, scenes
from mercury_lsp.cli import bench
from mercury_lsp.cli.doctor import command as doctor
from mercury_lsp.cli.main import main
from mercury_lsp.engine.tokenizer import Tokenizer
from mercury_lsp.errors import Failure
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax
from mercury_lsp.telemetry.store import Event, History

WORD = "value"
SOURCE = "def total(value):\n    return \n\n\nprint(total(3))\n"
ANSWER = {"text", "shown", "steps", "tokens", "forward_passes", "ms", "ms_prefill", "ms_denoise"}
ANSWER |= {"cached_tokens", "model", "device"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "total.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def command(*arguments: object, model: Path | str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MERCURY_MODEL": str(model), "COLUMNS": "120"}
    line = [sys.executable, "-m", "mercury_lsp", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Status and sentence of a command that must print nothing on stdout and one line on stderr."""
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("mercury-lsp: ")
    assert err.endswith(".\n")
    return status, err


def test_an_unknown_option_names_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "doctor", "--deep") == (
        2,
        "mercury-lsp: Unrecognized arguments: --deep; see mercury-lsp doctor --help.\n",
    )
    assert "see mercury-lsp --help." in refused(capsys, "--deep")[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory."),
        (b"\x89PNG", "it is not UTF-8 text."),
        (b'{"remote":', "it is not JSON (Expecting value: line 1 column 11 (char 10))."),
        (b'{"max_tokens": 9999}', "max_tokens must be a whole number from 4 to 256, not 9999."),
    ],
)
def test_wrong_settings_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_bytes(content)
    status, sentence = refused(capsys, "doctor", "--settings", file)
    assert status == 2
    assert sentence.endswith(f" {reason}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("--stdio", "--tcp"),
        ("--stdio", "demo"),
        ("--tcp", "--port", "66000"),
        ("complete",),
        ("bench", "--context", "5"),
        ("bench", "--device", "tpu"),
        ("stats", "--days", "0"),
        ("arena", "small", "mini", "--limit", "0"),
    ],
)
def test_bad_usage_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    status, sentence = refused(capsys, *arguments)
    assert status == 2
    assert "--help" in sentence


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("total.py", "FILE:LINE:COLUMN"),
        ("total.py:2", "FILE:LINE:COLUMN"),
        ("total.py:two:1", "FILE:LINE:COLUMN"),
        (f"total.py:{'9' * 5000}:1", "FILE:LINE:COLUMN"),
        ("absent.py:1:1", "No such file"),
        (".:1:1", "directory"),
        ("total.py:0:1", "lines 1 to 6"),
        ("total.py:7:1", "lines 1 to 6"),
        ("total.py:2:0", "columns 1 to 12"),
        ("total.py:2:13", "columns 1 to 12"),
    ],
)
def test_places_that_are_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: Path, place: str, says: str
) -> None:
    monkeypatch.chdir(source.parent)
    status, sentence = refused(capsys, "complete", place)
    assert status == 2
    assert says in sentence


def test_a_mode_that_is_none(capsys: pytest.CaptureFixture[str], source: Path) -> None:
    status, sentence = refused(capsys, "complete", f"{source}:2:12", "--mode", "magic")
    assert status == 2
    assert "'diffusion', 'autoregressive'" in sentence


def test_a_model_that_is_none(capsys: pytest.CaptureFixture[str], source: Path) -> None:
    status, sentence = refused(capsys, "complete", f"{source}:2:12", "--model", "nowhere/at/all")
    assert status == 1
    assert "nowhere/at/all" in sentence


def test_secrets_are_not_completed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PASSWORD=\n")
    status, sentence = refused(capsys, "complete", f"{tmp_path / '.env'}:1:10")
    assert status == 1
    assert "secrets" in sentence


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    async def taken() -> tuple[int, str]:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await asyncio.to_thread(refused, capsys, "--tcp", "--port", port)

    status, sentence = asyncio.run(taken())
    assert status == 1
    assert "Cannot listen on 127.0.0.1:" in sentence


@pytest.mark.parametrize("closed", ["<&-", "</dev/null >&-"])
def test_a_server_without_its_streams_says_so(closed: str) -> None:
    line = f"{sys.executable} -m mercury_lsp --stdio {closed}"
    done = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "closed" in done.stderr


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_host_that_cannot_be(capsys: pytest.CaptureFixture[str], host: str) -> None:
    status, sentence = refused(capsys, "--tcp", "--host", host)
    assert status == 1
    assert f"Cannot listen on {host}:" in sentence


def test_settings_without_an_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 200_000)
    status, sentence = refused(capsys, "doctor", "--settings", tmp_path / "deep.json")
    assert status == 2
    assert "Cannot read settings" in sentence


def test_figures_reach_a_file_that_takes_few_characters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    event = Event(time.time(), "python", "vim", "small", False, "accepted", "", 12.0, 10, 9, 3, 2, False)
    history = History()
    history.configure(1)
    history.add([event])
    history.close(60)
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    done = command("stats")
    assert done.returncode == 0 and "100%" in done.stdout


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON object that a command printed on stdout, and nothing else."""
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("mode", ["diffusion", "autoregressive"])
def test_complete_prints_one_object(model: Path, source: Path, mode: str) -> None:
    given = ("complete", f"{source}:2:12", "--json", "--watch", "--model", model, "--mode", mode)
    found = answer(command(*given))
    assert found.keys() == ANSWER
    assert (found["text"], found["shown"]) == (WORD, WORD)
    assert (found["model"], found["device"], found["tokens"]) == ("word", "cpu", 2)
    assert found["cached_tokens"] == 0


def test_complete_shows_the_text_in_its_line(model: Path, source: Path) -> None:
    done = command("complete", f"{source}:2:12", "--model", model)
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "1 │ def total(value):",
        f"2 │     return ▏⟦{WORD}⟧",
    ]
    assert "2 tokens in 1 passes" in done.stderr


def test_columns_count_characters_and_lines_end_as_the_protocol_says(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "lines.py"
    path.write_bytes('# 𐍈\u2028\x0c é\r\ns = "𐍈" + \r\n'.encode())
    found = answer(command("complete", f"{path}:2:11", "--json", "--model", model))
    assert found["shown"] == WORD
    assert command("complete", f"{path}:2:12", "--model", model).returncode == 2


def test_where_nothing_should_be_shown_the_answer_is_null(unpacked_model: Path, source: Path) -> None:
    """Random weights write what breaks the syntax."""
    found = answer(command("complete", f"{source}:2:12", "--json", "--model", unpacked_model))
    assert found["text"]
    assert found["shown"] is None


def test_watch_draws_each_draft_on_a_terminal(tiny_model: Path, source: Path) -> None:
    """Random weights decide token by token, so there are drafts with undecided ones."""
    ours, theirs = pty.openpty()
    line = [
        sys.executable,
        "-m",
        "mercury_lsp",
        "complete",
        f"{source}:2:12",
        "--watch",
        "--model",
        tiny_model,
    ]
    with subprocess.Popen(
        line, stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                seen += chunk
        except OSError:  # Linux's end of file
            pass
        assert process.wait() == 0
    os.close(ours)
    text = seen.decode()
    assert "░" in text
    assert "return" in text
    assert re.search(r"pass +\d+ +\d+/16", text)


def test_doctor_tells_what_would_run(model: Path) -> None:
    found = answer(command("doctor", "--json", model=model))
    assert found["usable"] is True
    assert found["model"]["name"] == "word"  # type: ignore[index]
    assert found["versions"]["torch"].startswith("2.")  # type: ignore[index]
    assert found["grammars"].keys() >= {"Python", "TypeScript", "Go", "C", "Rust"}  # type: ignore[attr-defined]
    assert None not in found["grammars"].values()  # type: ignore[attr-defined]


def test_doctor_misses_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mercury_lsp.engine.backends.cpu.kernel.instruction_sets", lambda: ())
    report = doctor.Report()
    assert doctor._check_devices(report)["kernel"] is None
    assert "kernel" in str(report.problems)


def test_doctor_finds_a_damaged_model_and_tells_the_mend(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    done = command("doctor", "--json", model=tmp_path)
    assert done.returncode == 1
    (problem,) = (problem for problem in json.loads(done.stdout)["problems"] if problem["fatal"])
    assert "fingerprint" in problem["problem"]
    assert "reinstall" in problem["fix"]


def test_doctor_for_people(model: Path) -> None:
    done = command("doctor", model=model)
    assert done.returncode == 0
    assert "is ready on this machine" in done.stdout
    assert "Traceback" not in done.stderr


def test_demo_shows_suggestions_and_types_over_wrong_ones(model: Path) -> None:
    done = command("demo", model=model)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    scenes = done.stdout.count(f"▏⟦{WORD}")  # as many as a busy machine has time for
    assert 2 <= scenes <= 6
    endings = re.findall(
        r"^(.+): keys pressed \d+, saved \d+  answered in \d+ ms$", done.stdout, re.MULTILINE
    )
    assert endings == ["Tab"] + ["typed over"] * (scenes - 1)
    assert f"self.⟦{WORD}⟧s.is_empty()  18 of 22 keys" in done.stdout
    assert re.search(
        r"^\d+ keys instead of \d+: \d+% saved. \d+ requests: p50 \d+ ms", done.stdout, re.MULTILINE
    )
    assert "docs/editors.md" in done.stdout.splitlines()[-1]


def test_demo_without_a_model_ends_with_a_sentence() -> None:
    done = command("demo", model="/nowhere")
    assert done.returncode == 1
    assert "There is no model '/nowhere'" in done.stderr.splitlines()[-1]


def test_bench_measures_everything_the_design_names(model: Path) -> None:
    done = command("bench", "--json", "--model", model, "--device", "cpu", "--context", 300)
    found = answer(done)
    assert list(found) == [
        *("model", "device", "threads", "context_tokens", "keystroke_ms", "with_speculation", "pass_ms"),
        *(
            "tokens_per_s",
            "tokens_per_pass",
            "ratio_diffusion_over_autoregressive",
            "start_ms",
            "rss_mb",
        ),
        *("typing_ms_by_context", "typing_4096_over_512", "against", "targets"),
    ]
    assert (found["model"], found["device"], found["context_tokens"]) == ("word", "cpu", 300)
    keystrokes = found["keystroke_ms"]
    assert isinstance(keystrokes, dict)
    assert keystrokes.keys() == {"cold", "typing", "moved", "pair"}
    assert all(0 < times["p50"] <= times["p95"] for times in keystrokes.values())
    assert found["with_speculation"]["typed_through"]["n"] > 0  # type: ignore[index]
    assert found["pass_ms"].keys() == {"1", "8", "16", "32"}  # type: ignore[attr-defined]
    assert found["tokens_per_s"].keys() == {"diffusion", "autoregressive"}  # type: ignore[attr-defined]
    assert found["tokens_per_pass"] == 2  # the word and its end, in one pass
    assert found["rss_mb"] > 50  # type: ignore[operator]
    assert (found["typing_4096_over_512"], found["against"]) == (None, None)
    assert len(found["targets"]) == 1  # type: ignore[arg-type]  # the others are promised of other models


def test_bench_compares_and_types_at_long_contexts(model: Path, tokenizer: Tokenizer) -> None:
    with serving(writes(*tokenizer.encode(WORD))) as (url, _):
        given = ("--model", model, "--device", "cpu", "--against", url, "--long")
        found = answer(command("bench", "--json", *given))
    against = found["against"]
    assert isinstance(against, dict)
    assert (against["url"], against["model"]) == (url, "tiny.gguf")
    assert against["same_text"] == {"diffusion": 1.0, "autoregressive": 1.0}
    assert against["single_line"]["n"] == len(scenes())
    assert against["tokens_24_and_more"] is None  # it writes one word
    assert found["typing_ms_by_context"].keys() == {"512", "4096"}  # type: ignore[attr-defined]
    assert len(found["targets"]) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value", "status", "says"),
    [
        ("--against", "localhost:1", 2, "address is like"),
        ("--against", "http://127.0.0.1:1", 1, "cannot be asked"),
    ],
)
def test_bench_ends_early_with_a_sentence(
    capsys: pytest.CaptureFixture[str], model: Path, option: str, value: str, status: int, says: str
) -> None:
    found, sentence = refused(capsys, "bench", "--model", model, option, value)
    assert found == status
    assert says in sentence


@pytest.mark.parametrize("size", [512, 4096])
def test_a_document_of_a_given_length_around_a_scene(tokenizer: Tokenizer, size: int) -> None:
    scene = scenes()[0]
    text, cursor = build_context(scene, size, tokenizer.count)
    assert scene.cut[: scene.start].endswith(text[:cursor][-200:])
    assert scene.cut[scene.start :].startswith(text[cursor:])
    assert 0.9 * size < tokenizer.count(text) <= min(size, 4000)


def test_long_lines_are_whole_and_long(tokenizer: Tokenizer) -> None:
    lines = long_lines(tokenizer.count, 20)
    assert len(lines) > 20
    for scene in lines:
        assert tokenizer.count(scene.original) >= 20
        assert scene.original.strip() == scene.original
        assert scene.text[scene.end] == "\n"


async def test_what_anticipation_gains_is_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystrokes, "READING_SECONDS", 0)
    found = await keystrokes.measure_prefetch({"model": str(model), "deadline_ms": 60_000}, scenes()[:2])
    counts = {"accepted": 2, "typed_through": 2 * (len(WORD) - 1)}
    counts |= {"debounced_75_ms": 8, "debounced_75_ms_without": 8}
    assert {name: times["n"] for name, times in found.items() if times is not None} == counts
    assert all(0 < times["p50"] <= times["p95"] for times in found.values() if times is not None)


def test_bench_refuses_a_context_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    status, sentence = refused(capsys, "bench", "--context", "3")
    assert status == 2
    assert "--context" in sentence


def test_the_bundled_files_are_faultless_and_their_scenes_apart() -> None:
    assert {scene.path for scene in scenes()} == {path for path in SAMPLES_FOLDER.iterdir() if path.is_file()}
    for scene in scenes():
        document = Document(scene.uri, scene.path.name, scene.language_id, 1, scene.text)
        assert Syntax.of(document).error_count() == 0, scene.path
        assert scene.text.isascii()
        assert scene.original.strip() == scene.original != ""
    assert len({(scene.path, scene.start) for scene in scenes()}) == len(scenes())


async def test_an_editor_sees_the_text_it_typed(model: Path) -> None:
    scene = scenes()[0]
    async with Editor.start(SAMPLES_FOLDER, {"model": str(model), "deadline_ms": 60_000}) as editor:
        await editor.wait_until_loaded()
        buffer = Buffer(editor, scene.uri, scene.language_id, scene.cut)
        ghost = await buffer.complete(scene.start)
        assert (ghost.text, ghost.start, ghost.end) == (WORD, scene.start, scene.start)
        assert ghost.ms > 0
        buffer.replace(scene.start, scene.start, scene.original)
        assert buffer.document.text == scene.text
        digest = await editor.request("mercury/documentDigest", {"textDocument": {"uri": scene.uri}})
        assert digest["characters"] == len(scene.text)
        with pytest.raises(Failure, match="error"):
            await editor.request("textDocument/nonsense", {})


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("import sys; sys.exit(3)", 3)])
async def test_a_server_that_ends_is_noticed(code: str, status: int) -> None:
    with pytest.raises(Failure, match=f"ended with exit status {status}"):
        async with Editor.start(SAMPLES_FOLDER, {}, [sys.executable, "-c", code]):
            pass


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(Failure, match="cannot be started"):
        async with Editor.start(SAMPLES_FOLDER, {}, ["/nowhere/mercury-lsp"]):
            pass


def test_bench_measures_what_an_open_model_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def typed(*_: object) -> Measurements:
        return Measurements(1.0, 2.0, 3.0, {"cold": [1.0]})

    async def ahead(*_: object) -> None:
        return None

    monkeypatch.setattr(bench, "measure_keystrokes", typed)
    monkeypatch.setattr(bench, "measure_prefetch", ahead)
    save_open(tmp_path / "open", "open-dcoder")
    monkeypatch.setenv("MERCURY_MODEL", str(tmp_path / "open"))  # as if it were selected
    assert main(["bench", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "open" and found["tokens_per_s"].keys() == {"diffusion"}
    assert found["pass_ms"] is None
    for more in (["--long"], ["--against", "http://127.0.0.1:1"]):
        status, sentence = refused(capsys, "bench", *more)
        assert status == 2 and "open model" in sentence

"""`mercury-lsp models` as users run it: list, select and remove, and the model that is used afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.gguf_files import save_gguf
from support.models.tiny_models import WORD
from support.models.tiny_open_models import save_open
from support.servers.fake_hub import Repo, serving
from test_fetch import FILES, NAME, User, sentence

from mercury_lsp.cli.doctor import command
from mercury_lsp.cli.doctor.report import Report
from mercury_lsp.cli.main import main
from mercury_lsp.models.registry import MODELS

KERNEL = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Return a user whose folders are also used by commands that run in the test's own process."""
    user = User(tmp_path)
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MERCURY_MODEL", raising=False)
    return user


def list_models(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["models", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return found


def selected_names(found: dict[str, Any]) -> list[str]:
    return [row["name"] for row in found["models"] if row["selected"]]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main(["models", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("mercury-lsp: ")
    return status, err


def test_list_shows_all_shipped_and_known_models(user: User, capsys: pytest.CaptureFixture[str]) -> None:
    found = list_models(capsys)
    assert found["selected"] == {"model": "small", "by": "default", "problem": None}
    assert selected_names(found) == ["small"]
    states = {row["name"]: row["state"] for row in found["models"]}
    assert states == {
        **dict.fromkeys(("small", "mini"), "shipped"),
        **{m.name: "known" for m in MODELS},
    }
    for arguments in (["models"], ["models", "list"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "* " in out and "is small (default)" in out
        assert all(entry.name in out for entry in MODELS)
    assert main(["models", "--json"]) == 0 and json.loads(capsys.readouterr().out) == found


def test_listing_selecting_and_removing_make_no_connection(user: User) -> None:
    """Run the commands without the HTTP libraries."""
    code = "import sys; sys.modules['huggingface_hub'] = sys.modules['httpx2'] = None\n"
    code += "from mercury_lsp.cli.main import main\n"
    code += "assert main(['models']) == main(['models', 'select', 'mini']) == 0\n"
    code += "assert main(['models', 'remove', 'sdar-4b']) == 2"
    subprocess.run([sys.executable, "-c", code], check=True, env=user.environment(None), capture_output=True)


def test_a_downloaded_model_is_listed_selected_and_removed(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_open(tmp_path / "open", "fast-dllm-v2", **KERNEL)
    files = {file.name: file.read_bytes() for file in (tmp_path / "open").iterdir()}
    with serving(acme__tiny=Repo(files)) as hub:
        assert user.download(hub).returncode == 0
    capsys.readouterr()
    (row,) = [row for row in list_models(capsys)["models"] if row["name"] == NAME]
    assert row["state"] == "downloaded" and not row["selected"]
    assert (row["license"], row["revision"]) == ("apache-2.0", "a" * 40)
    assert row["folder"] == str(user.folder)
    assert row["bytes"] == sum(file.stat().st_size for file in user.folder.iterdir())
    assert main(["models", "select", NAME]) == 0
    # There is no warning, because the model reuses its KV cache of the prefix.
    assert capsys.readouterr().err == ""
    found = list_models(capsys)
    assert selected_names(found) == [NAME] and found["selected"]["by"] == "mercury-lsp models select"
    assert main(["models", "remove", NAME]) == 0
    assert "is now small" in capsys.readouterr().out
    assert selected_names(list_models(capsys)) == ["small"]
    assert not user.folder.exists()
    assert refused(capsys, "remove", NAME)[0] == 2


def test_gguf_files_of_llama_cpp_are_listed_and_can_be_selected(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    (tmp_path / "llama").mkdir()
    save_gguf(tmp_path / "llama" / "coder.gguf", "qwen2", "Q8_0")
    save_gguf(tmp_path / "llama" / "chat.gguf", "llama", tokens=("<|endoftext|>",))
    rows = {row["name"]: row for row in list_models(capsys)["models"]}
    assert rows["coder"]["state"] == "llama.cpp"
    assert rows["coder"]["bytes"] == (tmp_path / "llama" / "coder.gguf").stat().st_size
    assert "no tokens for infilling" in refused(capsys, "select", "chat")[1]
    assert main(["models", "select", "coder"]) == 0
    capsys.readouterr()
    assert selected_names(list_models(capsys)) == ["coder"]
    facts = command._check_model(Report())
    assert facts["name"] == "coder" and facts["folder"] == str(tmp_path / "llama" / "coder.gguf")
    monkeypatch.chdir(tmp_path)
    assert main(["models", "select", "./llama/coder.gguf"]) == 0
    assert str(tmp_path / "llama" / "coder.gguf") in capsys.readouterr().out


def test_selecting_a_bidirectional_model_warns_that_it_reads_the_whole_prompt_again(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_open(tmp_path / "open", "dream", **KERNEL)
    assert main(["models", "select", str(tmp_path / "open")]) == 0
    assert "reads the whole prompt again" in capsys.readouterr().err.replace("\n", " ")


def test_an_unfinished_download_cannot_be_selected_but_removed(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(acme__tiny=Repo(dict(FILES), cut={"model.safetensors": [4096] + [0] * 100})) as hub:
        sentence(user.download(hub))
    assert refused(capsys, "select", NAME)[0] == 1
    assert main(["models", "remove", NAME]) == 0
    capsys.readouterr()
    assert not list(user.models.glob("acme*"))


def test_only_downloaded_models_can_be_removed(
    user: User, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("small", "mini", "sdar-4b", "nonesuch", tiny_model, "..", "."):
        assert refused(capsys, "remove", model)[0] == 2
    assert (tiny_model / "config.json").exists()


def test_only_a_readable_model_can_be_selected(
    user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert "There is no model" in refused(capsys, "select", folder)[1]
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    assert "no tokenizer.json" in refused(capsys, "select", folder)[1]
    assert "mercury-lsp models download sdar-4b" in refused(capsys, "select", "sdar-4b")[1]
    assert refused(capsys, "select", "auto")[0] == 1
    assert selected_names(list_models(capsys)) == ["small"]


def test_a_selected_folder_is_found_from_anywhere(
    user: User, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    assert main(["models", "select", f"./{tiny_model.name}"]) == 0
    capsys.readouterr()
    monkeypatch.chdir("/")
    found = list_models(capsys)
    assert selected_names(found) == [str(tiny_model)] and found["selected"]["model"] == str(tiny_model)


def test_select_warns_that_the_environment_variable_overrides_the_selection(
    user: User, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERCURY_MODEL", "small")
    assert main(["models", "select", "mini"]) == 0
    assert "MERCURY_MODEL names small" in capsys.readouterr().err
    assert selected_names(list_models(capsys)) == ["small"]
    monkeypatch.delenv("MERCURY_MODEL")
    assert selected_names(list_models(capsys)) == ["mini"]


def test_a_broken_settings_file_is_reported_and_not_overwritten(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    file = user.home / "config" / "mercury-lsp" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert main(["models"]) == 0
    assert str(file) in capsys.readouterr().err
    assert "is not JSON" in refused(capsys, "select", "mini")[1]
    assert file.read_text() == "{"
    report = Report()
    facts = command._check_model(report)
    assert facts is not None and (facts["name"], facts["chosen_by"]) == ("small", "default")
    assert report.usable and any(str(file) in problem.problem for problem in report.problems)


def test_a_selected_model_that_no_longer_exists_is_reported(
    user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    file = user.home / "config" / "mercury-lsp" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"model": "/gone"}')
    assert main(["models"]) == 0
    assert "/gone does not exist" in capsys.readouterr().err
    report = Report()
    assert command._check_model(report) is None
    assert "models select" in report.problems[0].fix


def test_complete_uses_the_selected_model_unless_a_flag_names_another(
    user: User, model: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Select a downloaded model in our own checkpoint format, while no setting names a model."""
    source = tmp_path / "total.py"
    source.write_text("def total(value):\n    return \n")
    files = {file.name: file.read_bytes() for file in model.iterdir()}
    with serving(fredzzp__words=Repo(files)) as hub:
        assert user.download(hub, "fredzzp/words").returncode == 0
    assert user.run(None, "models", "select", "fredzzp/words").returncode == 0

    def completed(*arguments: object, **environment: str) -> dict[str, Any]:
        done = user.run(None, "complete", f"{source}:2:12", "--json", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    answer = completed()
    assert (answer["model"], answer["text"]) == ("word", WORD)
    assert completed("--model", tiny_model)["model"] == "tiny"
    assert completed("--model", model, MERCURY_MODEL=str(tiny_model))["model"] == "tiny"

"""The model that the user selected, and how the server uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mercury_lsp.models.selection import config_file, select_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_the_selected_model_is_used_even_if_the_editor_sends_all_defaults(
    launch: Callable, model: Path
) -> None:
    select_model(str(model))
    client = launch("").client
    client.start(options={"model": "auto", "max_tokens": 8})
    assert client.is_served()
    (begun,) = [m["params"]["value"] for m in client.told if m["method"] == "$/progress"][:1]
    assert begun["title"] == f"Loading the model {model.name}"
    assert client.messages() == []


def test_a_broken_settings_file_causes_one_message_and_the_server_starts(launch: Callable) -> None:
    config_file().parent.mkdir()
    config_file().write_text("{")
    client = launch("").client
    client.start(options={"model": "auto", "max_tokens": 8})
    status = client.ask("mercury/status", None)["result"]
    assert (status["state"], status["model"]) == ("ready", "small")
    assert client.messages() == [f"mercury: {config_file()} is not JSON; fix or delete it."]

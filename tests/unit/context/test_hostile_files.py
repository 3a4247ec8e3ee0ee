"""Tests of untrusted files: private names, special files as rules, impossible networks, and escape sequences."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from threading import Thread

import pytest
from support import ROOT

from mercury_lsp.cli.main import main
from mercury_lsp.context.private_files import is_private
from mercury_lsp.engine.checkpoints import checkpoint
from mercury_lsp.models.downloads import escape_unprintable
from mercury_lsp.models.hub import is_wanted_file
from mercury_lsp.session.file_access import Files


@pytest.mark.parametrize(
    "name",
    [".env~", ".env.bak", "id_rsa_work", "id_ed25519_sk", ".npmrc~", "pip.conf", "auth.json", "kube_config",
    "admin.conf",
     "token.txt", "server.pem.bak", "wp-config.php.bak", "r/.git/config", "id_rsa-2024", "id_ecdsa.old",
     "#.env#", ".#.npmrc",
     ".netrc.swp", ".pgpass.orig", "key.p12.1", "credentials.json~", "Copy of .env", ".env (1)",
     "terraform.tfstate.backup.old",
     ".npmrc.2024-01-02", "wallet.dat.save", "id_ed25519_github.bak",
     "env.local", "ENV.production", "appsettings.Production.json",
     "key.pem.txt", ".env.txt", "shadow", "gshadow-"],
)  # fmt: skip
def test_private_files_and_their_backups_are_private(name: str) -> None:
    assert is_private(f"/w/{name}") and is_private(name.upper())


@pytest.mark.parametrize(
    "name",
    ["a.py~", "main.py.bak", "config", "git/config", "id_rsa_parser.py", "identity.txt", "auth.py",
    "token.py", "tokenizer.json",
     "admin.py", "notes.txt.old", "package.json", "pip.py", "kube_config.go", "x.conf", "#a.c#",
     "id_card.png", "shadow.css", "readme.txt", "main.py.txt"],
)  # fmt: skip
def test_other_files_and_their_backups_are_not_private(name: str) -> None:
    assert not is_private(f"/w/{name}")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")
@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "huge"])
def test_rules_that_are_not_regular_files_do_not_block(kind: str, tmp_path: Path) -> None:
    for name in (".gitignore", ".mercuryignore", ".git"):
        file = tmp_path / name
        match kind:
            case "fifo":
                os.mkfifo(file)
            case "device":
                file.symlink_to("/dev/zero")
            case "loop":
                file.symlink_to(file)
            case _:
                with file.open("wb") as sparse:
                    sparse.truncate(1 << 33)
    found: list[bool] = []
    asking = Thread(
        target=lambda: found.append(Files([str(tmp_path)]).ignores(f"{tmp_path}/a.py")), daemon=True
    )
    asking.start()
    asking.join(20)
    assert found == [True]  # unreadable rules ignore all files


@pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")
def test_special_files_of_a_worktree_do_not_block(tmp_path: Path) -> None:
    (tmp_path / "git").mkdir()
    (tmp_path / ".git").write_text(f"gitdir: {tmp_path}/git")
    os.mkfifo(tmp_path / "git" / "commondir")
    found: list[bool] = []
    asking = Thread(
        target=lambda: found.append(Files([str(tmp_path)]).ignores(f"{tmp_path}/a.py")), daemon=True
    )
    asking.start()
    asking.join(20)
    assert found == [False]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "value"),
    [("layers", 10**9), ("layers", 0), ("layers", 2.5), ("head_width", 1), ("head_width", 3), ("hidden",
    [1]), ("width", True),
     ("vocabulary", 10**12), ("kv_heads", 3), ("heads", "2"), ("rope_theta", "x"), ("rope_theta", 1e999),
     ("positions", -1),
     ("norm_eps", None)],
)  # fmt: skip
def test_impossible_network_sizes_are_reported_in_one_sentence(
    name: str, value: object, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["shape"][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(checkpoint.CheckpointError) as told:
        checkpoint.read_checkpoint(folder)
    assert str(told.value).count("\n") == 0 and "cannot be used" in str(told.value)


def test_escape_sequences_in_untrusted_text_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert escape_unprintable("MIT\x1b[2J\x07\u202e\x9b") == "MIT\\x1b[2J\\x07\\u202e\\x9b"
    assert not is_wanted_file("a\x1b[2J.json") and is_wanted_file("a.json")
    assert main(["models", "select", "x\x1b]0;owned\x07"]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_the_installer_runs_python_isolated_from_the_workspace() -> None:
    text = (ROOT / "editors" / "vscode" / "src" / "install.ts").read_text()
    calls = [line.strip() for line in text.splitlines() if "await runProgram(" in line]
    assert len(calls) == 3 and all("], parentFolder," in call for call in calls)
    assert '"-m"' not in text.replace('"-I", "-m"', "")
    assert "spawn(file, args, { cwd," in (ROOT / "editors" / "vscode" / "src" / "python.ts").read_text()

"""Types into a file in a real Neovim, waits for ghost text, and draws the terminal as an SVG; then accepts by <Tab>.

    .venv/bin/python editors/neovim/test/shot.py docs/neovim.svg [--nvim PATH] [--file F] [--line N] [--type TEXT]

Needs Neovim 0.12 and tmux. The line's text is deleted and TEXT is typed in its place; the file itself is not touched.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[3]
SIZE = (100, 28)
PATIENCE = 180  # seconds; the first answer waits for the model
INIT = """
vim.o.termguicolors, vim.o.number, vim.o.swapfile, vim.o.laststatus = true, true, false, 0
vim.cmd.highlight("Normal guibg=NONE")
vim.api.nvim_set_hl(0, "ComplHint", {{ fg = "#8a8a8a" }}) -- lighter than Neovim draws it, for a small picture
vim.opt.runtimepath:append({plugin!r})
require("mercury").setup{{ cmd = {{ {server!r}, "--stdio" }}, settings = {{ deadline_ms = 60000 }} }}
function Ghost()
  local namespace = vim.api.nvim_get_namespaces()["nvim.lsp.inline_completion"]
  return namespace and #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, {{}}) or 0
end
"""


def main() -> None:
    """Read the command line, and work on a copy of the file."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("picture", type=Path)
    options.add_argument("--nvim", default="nvim")
    options.add_argument("--server", default=str(Path(sys.executable).with_name("mercury-lsp")))
    options.add_argument("--file", type=Path, default=ROOT / "mercury_lsp/samples/expiring_cache.py")
    options.add_argument("--line", type=int, default=0, help="0 is the first that begins with TEXT")
    options.add_argument("--type", default="return self.h")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shoot(chosen, Path(folder))


def shoot(chosen: argparse.Namespace, folder: Path) -> None:
    """Type, take the picture, accept."""
    file = folder / chosen.file.name
    shutil.copyfile(chosen.file, file)
    texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    line = chosen.line or 1 + next(i for i, text in enumerate(texts) if text.startswith(chosen.type))
    (folder / "init.lua").write_text(INIT.format(plugin=str(ROOT / "editors/neovim"), server=chosen.server))
    socket = folder / "nvim"
    terminal = ["tmux", "-L", f"shot-{time.time_ns()}"]

    def ask(expression: str) -> str:
        command = [chosen.nvim, "--server", str(socket), "--remote-expr", expression]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def wait(expression: str, expected: str) -> None:
        end = time.monotonic() + PATIENCE
        while ask(expression) != expected:
            if time.monotonic() > end:
                raise SystemExit(f"{expression} did not become {expected} in {PATIENCE} s.")
            time.sleep(2)

    def keys(*names: str) -> None:
        subprocess.run([*terminal, "send-keys", *names], check=True)

    editor = [
        chosen.nvim,
        "--clean",
        "--listen",
        str(socket),
        "-u",
        str(folder / "init.lua"),
        f"+{line}",
        str(file),
    ]
    size = ["-x", str(SIZE[0]), "-y", str(SIZE[1])]
    subprocess.run([*terminal, "-f", "/dev/null", "new-session", "-d", *size, *editor], check=True)
    try:
        wait('luaeval("#vim.lsp.get_clients()")', "1")
        keys("z", "z", "S")
        for key in chosen.type:
            keys("-l", key)
        # The model may still be loading, and the request that came then is answered empty: ask again by a key.
        end = time.monotonic() + PATIENCE
        while ask('luaeval("Ghost()")') != "1":
            if time.monotonic() > end:
                raise SystemExit(f"No ghost text came in {PATIENCE} s.")
            keys("BSpace")
            keys("-l", chosen.type[-1])
            until = time.monotonic() + 40
            while ask('luaeval("Ghost()")') != "1" and time.monotonic() < until:
                time.sleep(2)
        screen = subprocess.run(
            [*terminal, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True
        )
        draw(screen.stdout, chosen.picture)
        line_now = 'trim(getline("."))'
        print(f"typed:    {ask(line_now)}")
        keys("Tab")
        wait('luaeval("Ghost()")', "0")
        print(f"accepted: {ask(line_now)}")
    finally:
        subprocess.run([*terminal, "kill-server"], check=False)


def draw(screen: str, picture: Path) -> None:
    """Draw a terminal's text and colours, without the web font that rich would ask for."""
    console = Console(record=True, width=SIZE[0], file=io.StringIO())
    console.print(Text.from_ansi(screen.rstrip("\n")))
    svg = console.export_svg(title="Neovim")
    picture.write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The plugin in real Neovims, 0.12 and 0.11: ghost text on the screen, and its keys and commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import LINE, ROOT, SETTINGS, TYPED
from .installs import Program
from .terminal import PATIENCE, Terminal

pytestmark = pytest.mark.editors

PLUGIN = ROOT / "editors/neovim"
# After this text, automatic and manual requests both have a suggestion.
LONG = "while self."
INIT = """
vim.o.termguicolors, vim.o.number, vim.o.swapfile, vim.o.laststatus, vim.o.more = true, true, false, 2, false
vim.o.statusline = "%f %m%= %{{v:lua.require'mercury'.status()}}  %l:%c"
vim.cmd.highlight("Normal guibg=NONE")
vim.opt.runtimepath:append({plugin})
Said = {{}}
vim.notify = function(text) table.insert(Said, text) end  -- a long one shown would wait for Enter
{before}
require("mercury").setup(vim.tbl_deep_extend("force", {{
  cmd = vim.json.decode([=[{server}]=]), settings = vim.json.decode([=[{settings}]=]) }}, {{ {options} }}))
-- The marks of ghost text, by whomever.
function Marks()
  local found = {{}}
  for name, id in pairs(vim.api.nvim_get_namespaces()) do
    if name == "mercury" or name == "nvim.lsp.inline_completion" then
      vim.list_extend(found, vim.api.nvim_buf_get_extmarks(0, id, 0, -1, {{}}))
    end
  end
  return found
end
-- What is drawn at the cursor, by whomever; its lines joined.
function Ghost()
  for name, id in pairs(vim.api.nvim_get_namespaces()) do
    if name == "mercury" or name == "nvim.lsp.inline_completion" then
      for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, id, 0, -1, {{ details = true }})) do
        local lines = {{}}
        local all = {{ mark[4].virt_text or {{}} }}
        vim.list_extend(all, mark[4].virt_lines or {{}})
        for i, chunks in ipairs(all) do
          lines[i] = ""
          for _, chunk in ipairs(chunks) do
            if not chunk[2]:match("More$") then lines[i] = lines[i] .. chunk[1] end
          end
        end
        return table.concat(lines, "\\n")
      end
    end
  end
  return ""
end
"""


class Neovim:
    """A Neovim in a terminal; its buffer and state are read through its socket."""

    def __init__(self, terminal: Terminal, program: Program, version: str, project: Path, server: list[str]):
        self.terminal, self.program, self.version = terminal, program, version
        self.project, self.server = project, server
        self.socket = project.parent / "nvim.sock"

    def start(
        self, file: str = "expiring_cache.py", options: str = "", before: str = "", **settings: object
    ) -> None:
        """Open a file at `LINE`. ``options``: the plugin's options in Lua. ``before``: Lua code before its setup."""
        init = self.project.parent / "init.lua"
        init.write_text(
            INIT.format(
                plugin=json.dumps(str(PLUGIN)),
                server=json.dumps(self.server),
                settings=json.dumps(SETTINGS | settings),
                options=options,
                before=before,
            ),
            encoding="utf-8",
        )
        home = {name: str(self.project.parent / name) for name in ("XDG_STATE_HOME", "XDG_DATA_HOME")}
        self.terminal.start(
            self.program,
            *("--clean", "--listen", str(self.socket), "-u", str(init), f"+{LINE}", file),
            cwd=self.project,
            env=home,
        )
        self.wait("luaeval('1')", lambda told: told == 1)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression; None while Neovim does not answer."""
        command = [
            *self.program.command, "--server", str(self.socket), "--remote-expr", f"json_encode({expression})",
        ]  # fmt: skip
        env = {**os.environ, **self.program.env}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def wait(self, expression: str, holds: Callable[[Any], object]) -> Any:
        end = time.monotonic() + PATIENCE
        while not holds(told := self.ask(expression)):
            if time.monotonic() > end:
                self.terminal.save(f"failed-neovim-{self.version}")
                raise AssertionError(f"{expression} is {told!r} still.\n{self.terminal.screen}")
            time.sleep(0.1)
        return told

    def ready(self) -> None:
        """Wait until the model is loaded; earlier requests have empty answers."""
        self.wait(
            "luaeval('require(\"mercury.status\").latest()')",
            lambda told: (told or {}).get("state") == "ready",
        )

    @property
    def line(self) -> str:
        return self.ask("getline('.')")

    @property
    def lines(self) -> list[str]:
        return self.ask("getline(1, '$')")

    @property
    def said(self) -> str:
        return "\n".join(self.ask("luaeval('Said')") or [])

    def ghost(self, holds: Callable[[str], object] = bool) -> str:
        """Wait until a condition holds for the ghost text; return the ghost text."""
        return str(self.wait("luaeval('Ghost()')", lambda told: told is not None and holds(told)))

    def type_line(self, text: str = TYPED) -> None:
        """Replace the cursor's line, by typing."""
        self.terminal.press("Escape", "S")
        self.terminal.type(text)

    def suggested(self, text: str = TYPED) -> str:
        """Replace the cursor's line and return the ghost text that was requested after the last key."""
        self.type_line(text)
        self.ghost()
        # Until the next answer, Neovim may still draw the ghost text before the last key.
        time.sleep(0.5)
        return self.ghost()

    def phrase(self) -> tuple[str, str]:
        """Type a text with more than one suggested word; return the line and the ghost text in that line."""
        for text in (
            "if key not in self.",
            "self.hits = self.",
            "return self.hits + self.",
            "while self.",
            "for ",
        ):
            ghost = self.suggested(text).split("\n")[0]
            if not re.fullmatch(r"\w*|\s*\W*", ghost):
                return indented(text), ghost
        raise AssertionError("The model suggests single words only.")


@pytest.fixture(params=["0.12", "0.11"])
def neovim(request: pytest.FixtureRequest, terminal: Terminal, project: Path, server: list[str]) -> Neovim:
    program = request.getfixturevalue("neovim_12" if request.param == "0.12" else "neovim_11")
    return Neovim(terminal, program, request.param, project, server)


def indented(text: str) -> str:
    return " " * 8 + text


def test_ghost_text_is_shown_and_accepted(neovim: Neovim) -> None:
    neovim.start()
    neovim.ready()
    ghost = neovim.suggested()
    first = ghost.split("\n")[0]
    neovim.terminal.until(lambda screen: TYPED + first in screen, "the ghost text")
    neovim.terminal.save(f"neovim-{neovim.version}")
    neovim.terminal.press("Tab")
    neovim.wait("getline('.')", lambda line: line == indented(TYPED + ghost).split("\n")[-1])
    assert "\n".join(neovim.lines[LINE - 1 :]).startswith(indented(TYPED + ghost))
    # Another suggestion may follow.
    neovim.ghost(lambda text: text != ghost)


def test_ghost_text_of_neovims_own_engine_is_accepted(neovim: Neovim) -> None:
    if neovim.version == "0.11":
        pytest.skip("it has none")
    neovim.start(options='engine = "native"')
    neovim.ready()
    ghost = neovim.suggested()
    neovim.terminal.press("Tab")
    neovim.wait("getline('.')", lambda line: line == indented(TYPED + ghost).split("\n")[-1])


def test_no_outdated_ghost_text_remains(neovim: Neovim) -> None:
    """After fast typing, there is ghost text only in the cursor's line."""
    neovim.start()
    neovim.ready()
    neovim.suggested()
    neovim.terminal.type("qqq")
    neovim.terminal.press("Enter")
    neovim.terminal.type("other = 1")
    neovim.wait("getline('.')", lambda line: str(line).endswith("other = 1"))
    rows = "luaeval('vim.tbl_map(function(mark) return mark[2] + 1 end, Marks())')"
    assert set(neovim.ask(rows) or []) <= {neovim.ask("line('.')")}


def test_ghost_text_can_be_accepted_word_by_word(neovim: Neovim) -> None:
    neovim.start(max_tokens=32)
    neovim.ready()
    line, ghost = neovim.phrase()
    neovim.terminal.press("M-Right")
    neovim.wait("getline('.')", lambda now: now != line)
    word = neovim.line[len(line) :]
    assert word and ghost.startswith(word)
    assert re.fullmatch(r"\s*(\w+|[^\w\s]+)", word)
    # Without a wait between the keys.
    for _ in range(40):
        if neovim.line == line + ghost:
            break
        neovim.terminal.press("M-Right")
    assert neovim.line == line + ghost


def test_ghost_text_can_be_accepted_line_by_line(neovim: Neovim) -> None:
    neovim.start(multiline="always")
    neovim.ready()
    ghost = neovim.suggested("def twice(self, value):")
    assert "\n" in ghost, ghost
    neovim.terminal.save(f"neovim-{neovim.version}-lines")
    before = neovim.lines
    first, second, *_ = ghost.split("\n")
    for _ in [first, second] if first else [second]:
        neovim.terminal.press("M-C-Right")
    neovim.wait(
        f"getline({LINE}, {LINE + 1})",
        lambda lines: [line.expandtabs() for line in lines] == [before[LINE - 1] + first, second],
    )
    neovim.ghost(lambda text: text == ghost.split("\n", 2)[2] if ghost.count("\n") > 1 else True)


def test_typing_along_the_ghost_text_keeps_its_rest(neovim: Neovim) -> None:
    neovim.start()
    neovim.ready()
    ghost = neovim.suggested()
    for typed in range(1, min(3, len(ghost.split("\n")[0]))):
        neovim.terminal.type(ghost[typed - 1])
        neovim.ghost(lambda text, typed=typed: text == ghost[typed:])  # type: ignore[misc]
    neovim.terminal.press("Tab")
    neovim.wait("getline('.')", lambda line: line == indented(TYPED + ghost).split("\n")[-1])


def test_accepting_right_after_a_key_inserts_nothing_twice(neovim: Neovim) -> None:
    neovim.start()
    neovim.ready()
    ghost = neovim.suggested()
    neovim.terminal._run("send-keys", "-l", ghost[0])
    neovim.terminal._run("send-keys", "Tab")
    neovim.wait("getline('.')", lambda line: line == indented(TYPED + ghost).split("\n")[-1])


def test_the_user_can_cycle_through_several_suggestions(neovim: Neovim) -> None:
    neovim.start()
    neovim.ready()
    neovim.type_line("return s")
    neovim.ghost(lambda text: text.startswith("elf."))
    # After typing along the ghost text, the request is for the text at the new cursor.
    neovim.terminal.type("elf.")
    first = neovim.ghost(lambda text: text != "" and not text.startswith("elf."))
    neovim.terminal.press("M-]")
    second = neovim.ghost(lambda text: text not in ("", first))
    neovim.terminal.until(lambda screen: re.search(r"\(\d/\d\)", screen), "which of several it is")
    neovim.terminal.save(f"neovim-{neovim.version}-cycling")
    neovim.terminal.press("M-[")
    # This may be longer than the suggestion of the automatic request.
    neovim.ghost(lambda text: text not in ("", second))
    neovim.terminal.press("M-]")
    neovim.ghost(lambda text: text == second)
    neovim.terminal.press("Tab")
    neovim.wait("getline('.')", lambda line: line == indented("return self." + second).split("\n")[-1])


def test_a_suggestion_can_be_dismissed_and_requested_manually(neovim: Neovim) -> None:
    neovim.start()
    neovim.ready()
    neovim.suggested(LONG)
    neovim.terminal.press("C-]")
    neovim.ghost(lambda text: text == "")
    assert neovim.line == indented(LONG)
    neovim.terminal.press("M-\\")
    neovim.ghost()
    neovim.terminal.press("Escape")
    neovim.ghost(lambda text: text == "")
    assert neovim.line == indented(LONG)


def test_a_manual_request_directly_after_a_typed_key_is_answered(neovim: Neovim) -> None:
    """Neovim tells of the change only after both keys, when the request is on its way."""
    neovim.start(".env")
    neovim.ready()
    neovim.terminal.press("Escape", "o")
    neovim.wait("mode()", lambda mode: mode == "i")
    neovim.ask(r"""feedkeys("x\<M-Bslash>", "t")""")
    neovim.wait("luaeval('table.concat(Said)')", lambda said: "nothing to suggest" in (said or ""))


def test_only_accepting_a_whole_suggestion_is_reported_to_the_server(neovim: Neovim) -> None:
    heard = """
    Ran = 0
    vim.api.nvim_create_autocmd("LspRequest", { callback = function(event)
      local request = event.data.request
      if request.method == "workspace/executeCommand" and request.type == "complete" then Ran = Ran + 1 end
    end })
    """
    neovim.start(before=heard, max_tokens=32)
    neovim.ready()
    line, _ = neovim.phrase()
    neovim.terminal.press("M-Right")
    neovim.wait("getline('.')", lambda now: now != line)
    assert neovim.ask("luaeval('Ran')") == 0
    neovim.terminal.press("Tab")
    neovim.wait("luaeval('Ran')", lambda ran: ran == 1)


def test_without_a_suggestion_tab_runs_its_earlier_mapping(neovim: Neovim) -> None:
    was = 'vim.keymap.set("i", "<Tab>", function() return "was" end, { expr = true })'
    neovim.start(before=was, enabled=False)
    neovim.type_line("x = ")
    neovim.terminal.press("Tab")
    neovim.terminal.type(".y")
    neovim.wait("getline('.')", lambda line: line == indented("x = was.y"))


def test_without_a_suggestion_and_mapping_tab_indents(neovim: Neovim) -> None:
    neovim.start(enabled=False)
    neovim.type_line("x")
    neovim.terminal.press("Tab")
    neovim.terminal.type("y")
    neovim.wait("getline('.')", lambda line: re.fullmatch(r" {8}x\s+y", line))
    assert "Mercury: off" in neovim.terminal.until(lambda screen: "Mercury: off" in screen, "the statusline")


def test_tab_selects_an_entry_while_neovims_menu_is_open(neovim: Neovim) -> None:
    was = """vim.keymap.set("i", "<Tab>", function()
      return vim.fn.pumvisible() == 1 and "<C-n>" or "<Tab>" end, { expr = true })"""
    neovim.start(before=was)
    neovim.ready()
    neovim.suggested()
    neovim.terminal.press("C-x", "C-n")
    neovim.wait("pumvisible()", lambda open_: open_ == 1)
    chosen = neovim.line
    neovim.terminal.press("Tab")
    neovim.wait("getline('.')", lambda line: line != chosen)
    assert neovim.ask("pumvisible()") == 1
    neovim.terminal.press("C-y")


# Behaves like blink.cmp, by its documented interface: a menu in a window of its own, a mapping of the buffer that calls
# the earlier mapping while the menu is closed, and two events.
STAND_IN = """
local open = false
package.loaded["blink.cmp"] = { is_menu_visible = function() return open end }
Took = 0
function Menu(now)
  open = now
  vim.api.nvim_exec_autocmds("User", { pattern = now and "BlinkCmpMenuOpen" or "BlinkCmpMenuClose" })
end
vim.api.nvim_create_autocmd("InsertEnter", { once = true, callback = function(event)
  local before = vim.fn.maparg("<Tab>", "i", false, true)
  vim.keymap.set("i", "<Tab>", function()
    if open then Took = Took + 1 else vim.schedule(before.callback) end
  end, { buffer = event.buf })
end })
"""


def test_ghost_text_is_hidden_while_a_menu_like_blink_cmp_is_open(neovim: Neovim) -> None:
    neovim.start(before=STAND_IN, options='menu = "hide"')
    neovim.ready()
    neovim.suggested()
    neovim.ask("luaeval('Menu(true)')")
    neovim.ghost(lambda text: text == "")
    neovim.terminal.press("Tab")
    neovim.wait("luaeval('Took')", lambda took: took == 1)
    assert neovim.line == indented(TYPED)
    neovim.ask("luaeval('Menu(false)')")
    neovim.terminal.press("BSpace")
    neovim.terminal.type(TYPED[-1])
    neovim.wait("getline('.')", lambda line: line == indented(TYPED))
    ghost = neovim.ghost(bool)
    neovim.terminal.press("Tab")
    neovim.wait("getline('.')", lambda line: line == indented(TYPED + ghost).split("\n")[-1])


def test_a_killed_server_is_started_again(neovim: Neovim, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = f"echo $$ > {shlex.quote(str(pid))}; exec {shlex.join(neovim.server)}"
    neovim.server = ["sh", "-c", command]
    neovim.start()
    neovim.ready()
    neovim.suggested()
    neovim.terminal.press("Escape")
    first = int(pid.read_text())
    os.kill(first, 9)
    neovim.wait("luaeval('table.concat(Said)')", lambda said: "ended unexpectedly" in (said or ""))
    neovim.wait("luaeval('#vim.lsp.get_clients({name=\"mercury\", bufnr=0})')", lambda count: count == 1)
    neovim.ready()
    assert int(pid.read_text()) != first
    # The text may differ: it may be the rest of a suggestion that was requested some keys earlier.
    neovim.suggested()


def test_a_server_that_keeps_crashing_is_not_started_again(neovim: Neovim) -> None:
    neovim.server = ["sh", "-c", "exit 3"]
    neovim.start()
    said = neovim.wait("luaeval('table.concat(Said)')", lambda said: "not started again" in (said or ""))
    assert said.count("it is started again") == 3


def test_a_missing_server_is_reported_with_instructions(neovim: Neovim) -> None:
    neovim.server = ["no-such-mercury-lsp"]
    neovim.start()
    neovim.terminal.press("Enter")
    said = neovim.wait("luaeval('table.concat(Said)')", bool)
    assert '"no-such-mercury-lsp" is not found' in said and "Install it as its README says" in said
    neovim.terminal.press("Escape")
    neovim.terminal.type(":Mercury health\r")
    neovim.wait(
        "getline(1, '$')", lambda lines: any("ERROR The server is not found" in line for line in lines or [])
    )


def test_nothing_is_suggested_in_a_private_file(neovim: Neovim) -> None:
    neovim.start(".env")
    neovim.ready()
    neovim.terminal.press("Escape", "o")
    neovim.terminal.type("API_TOKEN_COPY=")
    neovim.terminal.press("M-\\")
    neovim.wait("luaeval('table.concat(Said)')", lambda said: "nothing to suggest" in (said or ""))
    assert neovim.ask("luaeval('Ghost()')") == ""
    neovim.terminal.press("Escape")
    neovim.terminal.type(":Mercury explain\r")
    neovim.wait("luaeval('table.concat(Said)')", lambda said: "hold secrets" in (said or ""))


def test_suggestions_can_be_paused_for_a_time_and_disabled_for_a_language(neovim: Neovim) -> None:
    neovim.start()
    neovim.ready()
    neovim.suggested(LONG)
    neovim.terminal.press("Escape")
    neovim.terminal.type(":Mercury pause 10\r")
    neovim.terminal.until(lambda screen: re.search(r"Mercury: paused until \d\d:\d\d", screen), "the pause")
    neovim.type_line(LONG)
    time.sleep(1)
    assert neovim.ask("luaeval('Ghost()')") == ""
    neovim.terminal.press("Escape")
    neovim.terminal.type(":Mercury resume\r")
    neovim.ready()
    neovim.suggested(LONG)
    neovim.terminal.press("Escape")
    neovim.terminal.type(":Mercury disable python\r")
    explained = "luaeval('table.concat(Said)')"
    neovim.terminal.type(":Mercury explain\r")
    neovim.wait(explained, lambda said: "switched off for python" in (said or ""))
    neovim.type_line(LONG)
    time.sleep(1)
    assert neovim.ask("luaeval('Ghost()')") == ""
    neovim.terminal.press("Escape")
    neovim.terminal.type(":Mercury enable python\r")
    neovim.suggested(LONG)


def test_the_statusline_shows_the_state_and_the_latency(neovim: Neovim) -> None:
    neovim.start()
    neovim.terminal.until(lambda screen: "Mercury" in screen, "the state")
    neovim.ready()
    neovim.suggested()
    neovim.terminal.until(lambda screen: re.search(r"Mercury \d+ ms", screen), "the latency")


def test_checkhealth_reports_the_server_and_the_keys(neovim: Neovim) -> None:
    neovim.start(max_tokens=32)
    neovim.ready()
    neovim.terminal.type(":checkhealth mercury\r")
    lines = neovim.wait(
        "getline(1, '$')", lambda lines: any("keys in insert mode" in line for line in lines or [])
    )
    neovim.terminal.press("z", "R")
    neovim.terminal.save(f"neovim-{neovim.version}-health")
    report = "\n".join(lines)
    for told in (
        f"OK Neovim {neovim.version}", "mercury-lsp 0.", "OK The server runs", "OK It sees the file",
        "OK The server is ready: model small on cpu", "max_tokens = 32", "OK <Tab>: accept",
    ):  # fmt: skip
        assert told in report, report
    assert "ERROR" not in report and "WARNING" not in report, report


def test_checkhealth_warns_of_a_key_that_was_mapped_by_something_else(neovim: Neovim) -> None:
    taken = 'vim.api.nvim_create_autocmd("VimEnter", { command = "inoremap <Tab> x" })'
    neovim.start(before=taken)
    neovim.ready()
    neovim.terminal.type(":checkhealth mercury\r")
    report = neovim.wait("getline(1, '$')", lambda lines: any("insert mode" in line for line in lines or []))
    assert any("WARNING <Tab> (accept) was mapped by something else" in line for line in report), report


def test_arguments_of_the_mercury_command_are_completed(neovim: Neovim) -> None:
    neovim.start()
    told = neovim.ask("getcompletion('Mercury ', 'cmdline')")
    assert {"pause", "resume", "disable", "enable", "explain", "status", "restart", "stats"} <= set(told)
    assert neovim.ask("getcompletion('Mercury disable lu', 'cmdline')")[0] == "lua"
    neovim.ready()
    neovim.terminal.type(":Mercury stats\r")
    neovim.terminal.until(lambda screen: "the last 30 days" in screen, "the figures")


def test_the_help_has_all_its_tags(neovim: Neovim) -> None:
    neovim.start()
    copied = neovim.project.parent / "help"
    for file in (PLUGIN / "doc").glob("*.txt"):
        (copied / "doc").mkdir(parents=True, exist_ok=True)
        (copied / "doc" / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    neovim.ask(f"execute('helptags {copied}/doc')")
    neovim.ask(f"execute('set rtp^={copied}')")
    text = (PLUGIN / "doc/mercury.txt").read_text(encoding="utf-8")
    tags = {line.split("\t")[0] for line in (copied / "doc/tags").read_text().splitlines()}
    assert tags >= {"mercury", ":Mercury", "mercury-keys", "mercury-options", "mercury-menus"}
    assert set(re.findall(r"\|(:?[Mm]ercury[\w-]*)\|", text)) <= tags
    neovim.terminal.type(":help mercury-keys\r")
    neovim.wait("expand('%:t')", lambda name: name == "mercury.txt")


RENAMED = "def spent(count, price):\n    total = count * price\n    return total, count\n\n\nx = 'count'\n"


def rename_parameter(neovim: Neovim) -> None:
    """Rename the parameter in its signature, and wait for the next edit."""
    (neovim.project / "renamed.py").write_text(RENAMED, encoding="utf-8")
    neovim.start("renamed.py")
    neovim.ready()
    neovim.terminal.type("gg0f(lcw")
    neovim.terminal.type("amount")
    neovim.terminal.press("Escape")
    neovim.wait("getline(1)", lambda line: line == "def spent(amount, price):")
    neovim.wait(NEXT_EDIT, lambda told: told == [1, "amount"])


NEXT_EDIT = (
    'luaeval(\'(function() local one = require("mercury.next_edit").current()'
    " return one and { one.first[1], one.text } or {} end)()')"
)


def test_tab_applies_the_next_edits_of_a_renamed_parameter(neovim: Neovim) -> None:
    rename_parameter(neovim)
    neovim.terminal.until(lambda screen: "countamount * price" in screen, "the next edit")
    neovim.terminal.save(f"neovim-next-edit-{neovim.version}")
    for line in (2, 3):
        neovim.wait(NEXT_EDIT, lambda told, line=line: told == [line - 1, "amount"])
        neovim.terminal.press("Tab")
        neovim.wait("line('.')", lambda told, line=line: told == line)
        neovim.terminal.press("Tab")
    expected = RENAMED.replace("count", "amount").replace("'amount'", "'count'").splitlines()
    neovim.wait("getline(1, '$')", lambda lines: lines == expected)
    neovim.wait(NEXT_EDIT, lambda told: told in ([], {}))
    # One `u` takes back one edit.
    neovim.terminal.type("u")
    neovim.wait("getline(3)", lambda line: line == "    return total, count")


SERIES = """\
class Point:
    def __init__(self, x, y, z):
        self.x = x
        self.y = y


def copy(point, x, y, z):
    point.x = x
    point.y = y
"""


def test_tab_applies_a_next_edit_at_the_end_of_the_file(neovim: Neovim) -> None:
    """The server's text ends with an empty line, which Neovim's buffer does not have."""
    (neovim.project / "series.py").write_text(SERIES, encoding="utf-8")
    neovim.start("series.py")
    neovim.ready()
    neovim.terminal.type("4ggo")
    neovim.terminal.type("self.z = z")
    neovim.terminal.press("Escape")
    neovim.wait(NEXT_EDIT, lambda told: told == [9, "\n    point.z = z"])
    neovim.terminal.press("Tab")
    neovim.wait("line('.')", lambda told: told == 10)
    neovim.terminal.press("Tab")
    neovim.wait("getline(10, '$')", lambda lines: lines == ["    point.y = y", "    point.z = z"])


def test_a_dismissed_edit_does_not_come_back(neovim: Neovim) -> None:
    rename_parameter(neovim)
    neovim.terminal.press("Escape")
    neovim.wait(NEXT_EDIT, lambda told: told in ([], {}))
    neovim.terminal.type("Go")
    neovim.terminal.press("Escape")
    time.sleep(1.0)
    assert neovim.ask(NEXT_EDIT) in ([], {})
    # The key has Neovim's own function again.
    neovim.terminal.type("gg")
    neovim.wait("line('.')", lambda told: told == 1)
    neovim.terminal.press("Tab")
    time.sleep(0.3)
    assert neovim.lines[:3] == RENAMED.replace("count", "amount", 1).splitlines()[:3]

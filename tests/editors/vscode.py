"""Drives a real VS Code in a browser, with the extension that `npm run package` builds, as a user would.

Knows how VS Code is started and where things are on its screen, but nothing of suggestions. Each page is a window with
a server of its own, which uses the settings at the time the page opens.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, Locator, Page, TimeoutError

from .installs import Program

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "editors/vscode"
# Seconds after which a wait fails.
PATIENCE = 120.0
QUIET = {
    "files.autoSave": "off",
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.wordBasedSuggestions": "off",
    "editor.minimap.enabled": False,
    "editor.inlineSuggest.minShowDelay": 0,
    "explorer.autoReveal": False,
    "security.workspace.trust.enabled": False,
    "telemetry.telemetryLevel": "off",
    "workbench.reduceMotion": "on",
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "chat.disableAIFeatures": True,
    "window.menuBarVisibility": "hidden",
    "workbench.colorTheme": "Default Dark Modern",
}
# VS Code's own keys are Alt with \, ] and [, but in a headless browser it may guess their places wrongly.
ASK, NEXT, PREVIOUS = "Alt+F9", "Alt+F10", "Alt+F11"
KEYS = {ASK: "trigger", NEXT: "showNext", PREVIOUS: "showPrevious"}
# Records the texts of the decorations that extensions draw after the text, whenever they change.
RECORDER = """
window.recorded = [];
const look = () => {
    const marked = [...document.querySelectorAll('.view-lines [class*="ced-"]')];
    const drawn = marked.map(e => getComputedStyle(e, '::after').content).filter(text => text.startsWith('"'));
    const told = drawn.map(text => text.slice(1, -1)).join('');
    if (told !== (window.recorded.at(-1) ?? '')) window.recorded.push(told);
    requestAnimationFrame(look);
};
look();
"""


def package(node: Path, folder: Path) -> Path:
    """Build the extension in a copy of its folder, because a build leaves many files; return the extension's file."""
    copy = folder / "editors/vscode"
    shutil.copytree(EXTENSION, copy, ignore=shutil.ignore_patterns("node_modules", "dist", "*.vsix"))
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    env = {**os.environ, "PATH": f"{node}:{os.environ['PATH']}"}
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "package"]):
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return copy / "mercury-lsp.vsix"


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds. Fails after ``seconds`` with a message that names ``what``."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.1)


class CodeServer:
    """A code-server that serves VS Code to browsers on this machine, with its own user data and extensions."""

    def __init__(self, program: Program, folder: Path) -> None:
        self._folder = folder
        self._own = ["--user-data-dir", f"{folder}/user", "--extensions-dir", f"{folder}/extensions"]
        self._program = program
        (folder / "user/User").mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def install(self, extension: Path) -> None:
        """Install an extension from its file, as a user does."""
        command = [*self._program.command, *self._own, "--install-extension", str(extension)]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "successfully installed" in done.stdout, done.stdout + done.stderr

    def start(self, env: Mapping[str, str]) -> None:
        """Serve until `stop`. ``env``: variables in the environment of the extensions."""
        options = ["--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]
        options += [
            "--auth",
            "none",
            "--bind-addr",
            f"127.0.0.1:{self._port}",
            "--reconnection-grace-time",
            "5",
        ]
        log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [*self._program.command, *self._own, *options],
            env=self._env() | env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until(self._answers, f"code-server; see {log.name}")

    def stop(self) -> None:
        """End the server with the processes of its windows."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(20)

    def address(self, workspace: Path) -> str:
        """Return the URL of a window with a folder."""
        return f"http://127.0.0.1:{self._port}/?folder={workspace}"

    def configure(self, settings: Mapping[str, object]) -> None:
        """Write the settings; windows that open later use them.

        Settings with the scope of the machine are read from a file of the machine instead of the user's.
        """
        own = {name: value for name, value in settings.items() if name.startswith("mercury.server.")}
        users = {**QUIET, **{name: value for name, value in settings.items() if name not in own}}
        machine = self.settings_file.parents[1] / "Machine/settings.json"
        machine.parent.mkdir(exist_ok=True)
        keys = [
            {"key": key.lower(), "command": f"editor.action.inlineSuggest.{of}"} for key, of in KEYS.items()
        ]
        bound = self.settings_file.with_name("keybindings.json")
        for file, told in ((self.settings_file, users), (machine, own), (bound, keys)):
            file.write_text(json.dumps(told), encoding="utf-8")

    @property
    def settings_file(self) -> Path:
        return self._folder / "user/User/settings.json"

    def _env(self) -> dict[str, str]:
        # With the variables of a VS Code terminal, it would act as the command line of that VS Code.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("VSCODE_")}
        return ours | dict(self._program.env)

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "code-server ended"
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/healthz", timeout=2):
                return True
        except OSError:
            return False


class Window:
    """One window of VS Code: a page with an open folder."""

    def __init__(
        self, browser: Browser, address: str, artifacts: Path, size: tuple[int, int] = (900, 560)
    ) -> None:
        self.page: Page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.set_default_timeout(1000 * PATIENCE)
        self._artifacts = artifacts
        self.page.goto(address, wait_until="commit")
        self.page.wait_for_selector(".monaco-workbench .part.statusbar")

    def close(self) -> None:
        """Close the page without a question about unsaved files."""
        self.page.close(run_before_unload=False)

    def picture(self, name: str) -> None:
        """Save a picture of the screen."""
        self.page.screenshot(path=self._artifacts / f"vscode-{name}.png")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str, pause: float = 60) -> None:
        """Type key by key, with a pause in ms."""
        self.page.keyboard.type(text, delay=pause)

    def open(self, name: str, language: str) -> None:
        """Open a file of the folder through the quick pick, and wait until its language is known."""
        self._pick("Control+P", name, name)
        self.page.wait_for_selector(f'.tab.active[data-resource-name="{name}"]')
        self.page.wait_for_selector(".monaco-editor.focused")
        self.page.wait_for_selector(f'.statusbar-item:has-text("{language}")')

    def command(self, title: str) -> None:
        """Run a command by its name in the command palette."""
        self._pick("F1", f">{title}", title)

    def _pick(self, key: str, typed: str, row: str) -> None:
        """Pick a row of the quick input that a key opens. The key is repeated, as a page that redraws may lose it."""
        box = self.page.locator(".quick-input-widget:visible input[type=text]")
        found = self.page.locator(".quick-input-list .monaco-list-row.focused", has_text=row)

        def offered() -> bool:
            try:
                if not box.count():
                    self.press(key)
                box.fill(typed, timeout=3000)
                found.wait_for(timeout=5000)
            except TimeoutError:
                return False
            return True

        until(offered, f"{row} in the list of {key}")
        self.press("Enter")

    def rewrite(self, line: int, text: str) -> None:
        """Replace a line after its indentation, by typing."""
        self.press("Control+G")
        box = self.page.locator(".quick-input-widget:visible input")
        box.wait_for()
        box.fill(f":{line}")
        self.page.locator(
            ".quick-input-list .monaco-list-row", has_text=re.compile(str(line))
        ).first.wait_for()
        self.press("Enter")
        self.page.wait_for_selector(".monaco-editor.focused")
        self.press("Home", "Shift+End")
        self.type(text)

    @property
    def ghost(self) -> str:
        """The ghost text on the screen with its newlines; "" if there is none."""
        script = """() => {
            const inline = [...document.querySelectorAll('.view-lines .ghost-text-decoration')].map(e => e.textContent);
            const below = [...document.querySelectorAll('.suggest-preview-text .view-line, .ghost-text .view-line')];
            return [inline.join(''), ...below.map(e => e.textContent)].join('\\n');
        }"""
        told = str(self.page.evaluate(script)).replace("\u00a0", " ").replace("\u200b", "")
        return told if told.strip() else ""

    @property
    def decorations(self) -> list[str]:
        """The texts that extensions drew after the text since `record`, in order; "" for none."""
        return [str(told) for told in self.page.evaluate("window.recorded")]

    def record(self) -> None:
        """Start to record the texts that extensions draw after the text."""
        self.page.evaluate(RECORDER)

    def webview(self, words: str) -> str:
        """Wait until an extension's page contains ``words``; return its text."""
        body = (
            self.page.frame_locator("iframe.webview.ready")
            .frame_locator("iframe#active-frame")
            .locator("body")
        )
        until(lambda: body.count() and words in body.inner_text(), f"a page with {words!r}")
        return body.inner_text()

    def await_ghost(self, text: str) -> str:
        """Wait for ghost text after the typed text and return it; request it again, as the model may still load."""

        def asked() -> bool:
            self.press(ASK)
            end = time.monotonic() + 8
            while not self.ghost and time.monotonic() < end:
                time.sleep(0.1)
            return bool(self.ghost)

        end = time.monotonic() + 8
        while not self.ghost and time.monotonic() < end:
            time.sleep(0.05)
        if not self.ghost:
            until(asked, f"ghost text behind {text!r}")
        # The screen may be drawn in parts.
        time.sleep(0.2)
        return self.ghost

    def save(self, file: Path) -> str:
        """Save the file, and return its content on the disk."""
        dirty = self.page.locator(".tab.active.dirty")
        if dirty.count():
            self.press("Control+S")
            dirty.wait_for(state="detached")
        return file.read_bytes().decode()

    @property
    def status(self) -> Locator:
        """The item in the status bar."""
        return self.page.locator('.statusbar-item[id="mercury-lsp.mercury-lsp.mercury.status"]')

    def await_status(self, pattern: str) -> str:
        """Wait until the text of the item in the status bar matches a pattern; return the text."""
        self.page.locator(".part.statusbar").wait_for()
        until(
            lambda: self.status.count() and re.search(pattern, self.status.inner_text()),
            f"status {pattern!r}",
        )
        return self.status.inner_text()

    def notification(self, words: str) -> Locator:
        """Wait for a notification that contains ``words``; return it."""
        found = self.page.locator(".notification-toast", has_text=words).first
        found.wait_for()
        return found


def servers(marker: str) -> list[int]:
    """Return the sorted ids of the server processes with a marker among the words of their command."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words: Sequence[bytes] = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if marker.encode() in words and b"mercury_lsp" in words:
                found.append(int(folder.name))
    return sorted(found)

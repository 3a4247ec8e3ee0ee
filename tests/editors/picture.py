"""Records the animated picture of the README: a real Neovim with a real server, while two methods are typed.

`python -m tests.editors.picture FILE.gif` installs the editor as the tests do, types `TEXT` key by key at the speed of
a person, and presses Tab as soon as the ghost text equals the continuation. Each frame is a screen of the terminal,
shown as long as in reality; the strip below, which is not part of the screen, shows the key Tab.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.style import Style
from rich.text import Text

from . import installs
from .conftest import ROOT, SAMPLES
from .terminal import Terminal
from .test_neovim import Neovim

FILE = "expiring_cache.py"
# The text is typed before this line.
ABOVE = "    def get("
TEXT = """\
    def keys(self) -> list[Hashable]:
        with self._lock:
            return list(self._entries)

    def reset(self) -> None:
        with self._lock:
            self._entries.clear()
            self.statistics = Statistics()"""
# Ghost text as light as comments in many themes of Neovim; the default is hard to read in a small picture.
VISIBLE = 'vim.cmd.highlight("ComplHint guifg=#8b919c gui=italic")'
COLUMNS, ROWS = 84, 22
# The size of the font in pixels.
SIZE = 14
KEY_SECONDS = 0.09
GLANCE_SECONDS = 0.1
# Seconds between the ghost text and Tab; and for which the strip shows the key.
LOOK_SECONDS = 0.4
TAB_SECONDS = 0.4
LAST_SECONDS = 2.5
PALETTE = 48
_CONSOLE = Console(color_system="truecolor", force_terminal=True)
GROUND, INK, STRIP, MARK = "#14161b", "#e0e2ea", "#0b0c0f", "#b3f6c0"


@dataclass(frozen=True, slots=True)
class Frame:
    """A screen with its colors, the cursor's column and row, whether Tab is shown, and the time in seconds."""

    screen: str
    cursor: tuple[int, int]
    tab: bool
    at: float


class Recorder(threading.Thread):
    """Polls a terminal and keeps each screen that differs from the one before."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(daemon=True)
        self.frames: list[Frame] = []
        self.tab_until = 0.0
        self._terminal = terminal
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.03):
            told = self._terminal._run(
                *("capture-pane", "-p", "-e", ";", "display-message", "-p", "#{cursor_x} #{cursor_y}")
            )
            screen, _, position = told.rstrip("\n").rpartition("\n")
            column, row = map(int, position.split())
            now = time.monotonic()
            frame = Frame(screen, (column, row), now < self.tab_until, now)
            last = self.frames[-1] if self.frames else None
            if last is None or (last.screen, last.cursor, last.tab) != (
                frame.screen,
                frame.cursor,
                frame.tab,
            ):
                self.frames.append(frame)

    def end(self) -> list[Frame]:
        """Stop, and return all frames."""
        self._over.set()
        self.join()
        return self.frames


class Hands:
    """A simulated user, who knows `TEXT` and reads the screen."""

    def __init__(self, neovim: Neovim, recorder: Recorder, first: int) -> None:
        self._neovim, self._recorder, self._first = neovim, recorder, first
        self._random = random.Random(1)

    def type(self) -> tuple[int, int]:
        """Type the whole text; return the number of keys pressed, with Tab, and of keys pressed for indentation."""
        keys = corrections = 0
        while (seen := self._look())[0] != TEXT:
            typed, ghost = seen
            if not TEXT.startswith(typed):
                corrections += self._indent(typed)
                continue
            rest = TEXT[len(typed) :]
            keys += 1
            if len(ghost) > 1 and rest.startswith(ghost):
                self._tab(typed + ghost)
                continue
            self._key("Enter" if rest[0] == "\n" else rest[0])
            time.sleep(self._random.lognormvariate(0, 0.3) * KEY_SECONDS)
        return keys, corrections

    def _look(self) -> tuple[str, str]:
        """Return the text from the first line to the cursor, with blank lines as empty lines, and the ghost text."""
        lines, column, ghost = self._neovim.ask(
            f"[getline({self._first}, line('.')), col('.'), luaeval('Ghost()')]"
        )
        if not ghost:
            # The user looks at the screen a second time.
            time.sleep(GLANCE_SECONDS)
            ghost = self._neovim.ask("luaeval('Ghost()')")
        *above, last = lines
        last = last.encode()[: column - 1].decode()
        return "\n".join([*(line if line.strip() else "" for line in above), last]), ghost

    def _tab(self, expected: str) -> None:
        time.sleep(LOOK_SECONDS)
        self._recorder.tab_until = time.monotonic() + TAB_SECONDS
        self._neovim.terminal.press("Tab")
        end = time.monotonic() + 10
        while (typed := self._look()[0]) != expected:
            if time.monotonic() > end:
                raise AssertionError(f"Tab made {typed!r} of it, not {expected!r}")
        time.sleep(TAB_SECONDS)

    def _indent(self, typed: str) -> int:
        """Press one key that corrects Neovim's indentation of a new line; return the number of keys."""
        *above, last = typed.split("\n")
        wanted = TEXT.split("\n")[len(above)]
        indentation = len(wanted) - len(wanted.lstrip())
        if last.strip() or not TEXT.startswith("\n".join([*above, ""])):
            raise AssertionError(f"{typed!r} is no beginning of the text")
        self._key("BSpace" if len(last) > indentation else "Space")
        return 1

    def _key(self, key: str) -> None:
        if len(key) == 1:
            self._neovim.terminal.type(key)
        else:
            self._neovim.terminal.press(key)


def record() -> tuple[list[Frame], tuple[int, int]]:
    """Record the typing; return the frames and the numbers of keys that `Hands.type` returns."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        project.mkdir()
        shutil.copyfile(SAMPLES / FILE, project / FILE)
        terminal = Terminal(installs.tmux(), ROOT / "build/editors", COLUMNS, ROWS)
        server = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "mercury_lsp", "--stdio"]
        neovim = Neovim(terminal, installs.neovim("0.12"), "0.12", project, server)
        try:
            neovim.start(FILE, before=VISIBLE, show_likelihood=0.5, deadline_ms=5_000, multiline="never")
            neovim.ready()
            line = 1 + next(n for n, text in enumerate(neovim.lines) if text.startswith(ABOVE))
            neovim.ask(f"append({line - 1}, '')")
            neovim.ask(f"cursor({line - 1}, 1)")
            terminal.press("z", "z", "o")
            time.sleep(0.5)
            recorder = Recorder(terminal)
            recorder.start()
            keys = Hands(neovim, recorder, line).type()
            time.sleep(1)
            return recorder.end(), keys
        finally:
            terminal.close()


class Painter:
    """Draws screens in a font that matplotlib contains."""

    def __init__(self) -> None:
        self._fonts = {
            (bold, italic): ImageFont.truetype(
                font_manager.findfont(
                    font_manager.FontProperties(
                        family="DejaVu Sans Mono",
                        weight="bold" if bold else "normal",
                        style="oblique" if italic else "normal",
                    )
                ),
                SIZE,
            )
            for bold in (False, True)
            for italic in (False, True)
        }
        self._width = round(self._fonts[False, False].getlength("m"))
        self._height = round(SIZE * 1.3)

    def draw(self, frame: Frame) -> Image.Image:
        """Draw a frame with the strip below it."""
        width, height = COLUMNS * self._width, ROWS * self._height
        image = Image.new("RGB", (width, height + 2 * self._height), GROUND)
        pen = ImageDraw.Draw(image)
        for row, line in enumerate(Text.from_ansi(frame.screen).split("\n", allow_blank=True)[:ROWS]):
            column = 0
            for segment in line.render(_CONSOLE):
                self._segment(pen, segment.text, segment.style or Style.null(), column, row)
                column += len(segment.text)
        x, y = frame.cursor[0] * self._width, frame.cursor[1] * self._height
        pen.rectangle((x, y, x + 1, y + self._height - 1), fill=INK)
        pen.rectangle((0, height, width, height + 2 * self._height), fill=STRIP)
        if frame.tab:
            x, y = width // 2 - 2 * self._width, height + self._height // 2
            pen.rounded_rectangle((x - 8, y - 3, x + 3 * self._width + 8, y + self._height), 4, fill=MARK)
            pen.text((x, y), "Tab", font=self._fonts[True, False], fill=STRIP)
        return image

    def _segment(self, pen: ImageDraw.ImageDraw, text: str, style: Style, column: int, row: int) -> None:
        ink = style.color.get_truecolor().hex if style.color and not style.color.is_default else INK
        ground = (
            style.bgcolor.get_truecolor().hex if style.bgcolor and not style.bgcolor.is_default else GROUND
        )
        if style.reverse:
            ink, ground = ground, ink
        x, y = column * self._width, row * self._height
        if ground != GROUND:
            pen.rectangle((x, y, x + len(text) * self._width - 1, y + self._height - 1), fill=ground)
        font = self._fonts[bool(style.bold), bool(style.italic)]
        for number, sign in enumerate(text):
            pen.text((x + number * self._width, y), sign, font=font, fill=ink)


def save(frames: list[Frame], file: Path) -> None:
    """Save the frames as an animated GIF with few colors and the real durations."""
    painter = Painter()
    images = [painter.draw(frame) for frame in frames]
    palette = _palette(
        [*images[:: len(images) // 8], *(i for i, f in zip(images, frames, strict=True) if f.tab)]
    )
    ends = [*(frame.at for frame in frames[1:]), frames[-1].at + LAST_SECONDS]
    durations = [max(20, round((end - frame.at) * 100) * 10) for frame, end in zip(frames, ends, strict=True)]
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    file.parent.mkdir(parents=True, exist_ok=True)
    first.save(file, save_all=True, append_images=others, duration=durations, loop=0, optimize=True)


def _palette(images: list[Image.Image]) -> Image.Image:
    """Return an image whose palette has the colors of all the images."""
    width, height = images[0].size
    sheet = Image.new("RGB", (width, height * len(images)))
    for number, image in enumerate(images):
        sheet.paste(image, (0, number * height))
    return sheet.quantize(PALETTE)


def main() -> None:
    (file,) = sys.argv[1:]
    frames, (keys, corrections) = record()
    save(frames, Path(file))
    print(
        f"{file}: {len(frames)} frames, {Path(file).stat().st_size / 1024:.0f} KiB; "
        f"{keys} keys for {len(TEXT)} characters, and {corrections} for indentation"
    )


if __name__ == "__main__":
    main()

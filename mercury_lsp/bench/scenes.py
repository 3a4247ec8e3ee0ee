"""Lists places in the bundled files at which the demo and the measurements type text again.

The files in `samples/` are real code, written for this project, and not part of the training data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SAMPLES_FOLDER = Path(__file__).resolve().parent.parent / "samples"
LANGUAGE_IDS = {".py": "python", ".ts": "typescript", ".go": "go", ".c": "c", ".rs": "rust"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A place in a bundled file: its `text` from `start` to `end` is deleted and typed again."""

    path: Path
    text: str
    start: int
    end: int

    @property
    def uri(self) -> str:
        """The file's URI."""
        return self.path.as_uri()

    @property
    def language_id(self) -> str:
        """LSP's identifier of the language."""
        return LANGUAGE_IDS[self.path.suffix]

    @property
    def original(self) -> str:
        """The deleted text."""
        return self.text[self.start : self.end]

    @property
    def cut(self) -> str:
        """The file without the deleted text."""
        return self.text[: self.start] + self.text[self.end :]


# Pairs of a file and a text in it; the part in ⟦ ⟧ is deleted. Files alternate, so that each scene starts cold.
_MARKED_TEXTS = (
    ("expiring_cache.py", "    def requests(self) -> int:\n        return ⟦self.hits + self.misses⟧"),
    ("sales_report.py", "        self.quantity += ⟦sale.quantity⟧"),
    ("retry_client.ts", '    return this.request<T>(path, { ...options, method: ⟦"POST", body });⟧'),
    ("worker_pool.go", "func (r Result) Failed() bool {\n\treturn ⟦r.Err != nil⟧"),
    ("string_map.c", "    map->entries = ⟦calloc(INITIAL_CAPACITY, sizeof(*map->entries));⟧"),
    ("ini_parser.rs", "    pub fn is_empty(&self) -> bool {\n        ⟦self.values.is_empty()⟧"),
    ("expiring_cache.py", "            entry = ⟦self._entries.get(key)⟧\n            if entry is None:"),
    ("sales_report.py", "        if self.count == 0:\n            return ⟦Decimal(0)⟧"),
    (
        "retry_client.ts",
        '    super(`${url} did not answer within ${timeoutMs} ms`);\n    this.name = ⟦"TimeoutError";⟧',
    ),
    ("worker_pool.go", "\tfor i := 0; ⟦i < workers; i++⟧ {"),
    ("string_map.c", "static char *copy_string(const char *text)\n{\n    size_t length = ⟦strlen(text);⟧"),
    ("ini_parser.rs", "        self.values.insert(⟦key.to_string(), value.to_string()⟧);"),
    ("expiring_cache.py", "            for key in expired:\n                ⟦del self._entries[key]⟧"),
    ("sales_report.py", '    lines += render_table(⟦"By month", summarise(sales, "month"))⟧'),
    ("retry_client.ts", "    for (let attempt = 0; ⟦attempt < this.options.attempts; attempt++⟧) {"),
    ("worker_pool.go", "\tif err != nil {\n\t\t⟦return nil, err⟧\n\t}\n\tgo func"),
    (
        "string_map.c",
        "    if (map == NULL) {\n        return;\n    }\n    for (⟦size_t i = 0; i < map->capacity; i++⟧) {",
    ),
    ("ini_parser.rs", "    fn from(error: io::Error) -> Self {\n        ⟦Error::Io(error)⟧"),
    ("expiring_cache.py", "            while len(self._entries) >= ⟦self.capacity⟧:"),
    ("sales_report.py", '    else:\n        ⟦arguments.output.write_text(report, encoding="utf-8")⟧'),
    ("retry_client.ts", "    } finally {\n      ⟦clearTimeout(timer);⟧"),
    (
        "worker_pool.go",
        "\t\tvar cancel context.CancelFunc\n\t\t⟦ctx, cancel = context.WithTimeout(ctx, p.timeout)⟧",
    ),
    ("string_map.c", "    free(entry->key);\n    memset(⟦entry, 0, sizeof(*entry)⟧);"),
    ("ini_parser.rs", "        let text = ⟦fs::read_to_string(path)?;⟧"),
)


@cache
def scenes() -> tuple[Scene, ...]:
    """Return all scenes, in the order of `_MARKED_TEXTS`."""
    return tuple(_find_scene(name, marked) for name, marked in _MARKED_TEXTS)


def _find_scene(name: str, marked: str) -> Scene:
    text = (SAMPLES_FOLDER / name).read_text(encoding="utf-8")
    head, _, rest = marked.partition("⟦")
    original, _, tail = rest.partition("⟧")
    whole = head + original + tail
    if text.count(whole) != 1:
        raise LookupError(f"{name} has {whole!r} {text.count(whole)} times, not once")
    start = text.index(whole) + len(head)
    return Scene(SAMPLES_FOLDER / name, text, start, start + len(original))


def long_lines(count_tokens: Callable[[str], int], min_tokens: int) -> list[Scene]:
    """Return a scene for each line of the bundled files with ``min_tokens`` or more tokens; it deletes that line."""
    lines = []
    for path in sorted({scene.path for scene in scenes()}):
        text, offset = path.read_text(encoding="utf-8"), 0
        for line in text.splitlines(keepends=True):
            start, end = offset + len(line) - len(line.lstrip()), offset + len(line.rstrip())
            if count_tokens(text[start:end]) >= min_tokens:
                lines.append(Scene(path, text, start, end))
            offset += len(line)
    return lines

"""Defines each option once: its type, default, range and meaning; and parses settings into a `Config`.

A wrong setting costs one sentence for the user and gets its default; it never stops the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from mercury_lsp.errors import QUOTED_CHARACTERS, quoted
from mercury_lsp.models.selection import AUTO_MODEL

SECTION = "mercury"
# What an extension keeps in the same section for itself.
EDITORS_OWN = frozenset({"server", "trace", "drafts"})
# Of one text: a path, an address, an argument of a program.
MAX_TEXT_CHARACTERS = 4096
MAX_LIST_VALUES = 256
# What `next_edit` may be instead of a model's name.
NEXT_EDITS = ("local", "hosted", "off")
MAX_REPORTED_UNKNOWN = 10  # settings that do not exist, each in a sentence of its own

T = TypeVar("T")


def _option(
    default: T,
    doc: str,
    low: float = 0,
    high: float = 0,
    choices: Sequence[str] = (),
    guarded: bool = False,
) -> T:
    metadata = {"doc": doc, "low": low, "high": high, "choices": tuple(choices), "guarded": guarded}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Config:
    """The options' values. `OPTIONS` describes them."""

    enabled: bool = _option(True, "Whether anything is suggested.")
    model: str = _option(
        AUTO_MODEL,
        "A model's name (small, or mini if it is installed), its folder or its GGUF file; auto takes the one selected "
        "with `mercury-lsp models select`, or else small.",
        guarded=True,
    )
    device: str = _option("auto", "Where the model runs.", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = _option(0, "CPU threads; 0 takes the physical cores, but at most 4.", 0, 64)
    quantization: str = _option(
        "auto",
        "How an open checkpoint's weights are held; auto takes the most exact that fits the device's memory.",
        choices=("auto", "none", "int8", "int4"),
    )
    nice: int = _option(0, "The server's nice value: 19 yields most to other programs, 0 not at all.", 0, 19)
    max_tokens: int = _option(64, "Longest suggestion, in tokens.", 4, 256)
    multiline: str = _option(
        "auto",
        "Whether suggestions have several lines; auto asks the syntax.",
        choices=("auto", "never", "always"),
    )
    show_likelihood: float = _option(
        0.5,
        "How likely a suggestion's first word must be, by the model's own word, to be shown automatically. This holds "
        "for a word of 6 characters; more text may be less likely, and what is doubtful after it is cut off. 0 shows "
        "all.",
        0,
        1,
    )
    deadline_ms: int = _option(
        0,
        "When the committed text is shown, in milliseconds after the request; a manual request has ten times as long. "
        "0 is 250 on a CPU and 60 on a GPU.",
        0,
        60_000,
    )
    anticipate: bool = _option(
        True,
        "Whether work starts at each change, before the editor asks (prefetch), and continues after a shown "
        "suggestion.",
    )
    next_edit: str = _option(
        "local",
        "Who suggests the next edit: `local`, which repeats what was just edited where it comes again; `hosted`, which "
        "also sends the recent edits and the lines around the cursor to `remote_url`; the name, folder or file of an "
        "open next-edit model, which writes these lines here; or `off`.",
        guarded=True,
    )
    context_tokens: int = _option(
        704,
        "Tokens around the cursor that the model sees: 8 of 11 before it, the rest from the lines after its own.",
        16,
        8192,
    )
    project_files: str = _option(
        "all",
        "What of the project's other files suggestions may use: all, which are indexed in the background in at most "
        "32 MB; those that are open; or none.",
        choices=("all", "open", "none"),
    )
    complete_ignored: bool = _option(
        True, "Whether documents that the project ignores are completed, by the local model alone."
    )
    disabled_languages: tuple[str, ...] = _option((), "Language ids in which nothing is suggested.")
    in_strings_and_comments: bool = _option(
        True, "Whether anything is suggested automatically in strings and comments."
    )
    debounce_ms: int = _option(
        -1,
        "Wait for further typing, in milliseconds. -1 adapts: no wait, unless `anticipate` is off and keys come faster "
        "than answers; then until the next key is overdue.",
        -1,
        1000,
    )
    remote: str = _option(
        "off",
        "Whether a hosted model is asked: always, or if the local model's own suggestion is too unlikely. The text "
        "around the cursor is then sent to `remote_url`.",
        choices=("off", "always", "fallback"),
        guarded=True,
    )
    remote_url: str = _option(
        "",
        "A hosted model's address, such as https://api.example.com/v1, to which `/fim/completions` is added; one that "
        "ends in `/completions` speaks OpenAI's, with a suffix.",
        guarded=True,
    )
    remote_model: str = _option("", "The model's name there.")
    remote_key_env: str = _option(
        "MERCURY_API_KEY", "The environment variable that holds its key.", guarded=True
    )
    remote_key_command: tuple[str, ...] = _option(
        (), "A program and its arguments that print the key instead; run without a shell.", guarded=True
    )
    history_days: int = _option(
        90,
        "Days for which outcomes of suggestions are recorded on this machine: counts and times, never code; 0 records "
        "nothing.",
        0,
        3650,
    )
    log_level: str = _option(
        "warning", "What the log on stderr tells.", choices=("error", "warning", "info", "debug")
    )

    @property
    def prefix_tokens(self) -> int:
        """Tokens of the text before the cursor."""
        return self.context_tokens * 8 // 11

    @property
    def following_tokens(self) -> int:
        """Tokens of the lines after the cursor's."""
        return self.context_tokens - self.prefix_tokens


@dataclass(frozen=True, slots=True)
class Option:
    """One option of `Config`. `low` and `high` bound a number, `choices` a text; the default shows the type.

    `guarded`: it can run a program, name a host or a variable, or load files; see `trust`.
    """

    name: str
    default: Any
    doc: str
    low: float
    high: float
    choices: tuple[str, ...]
    guarded: bool

    @property
    def expected(self) -> str:
        """What a value must be, as words for `The setting x must be ...`."""
        match self.default:
            case bool():
                return "true or false"
            case int():
                return f"a whole number from {self.low} to {self.high}"
            case float():
                return f"a number from {self.low} to {self.high}"
            case str():
                if self.choices:
                    return f"one of {', '.join(self.choices)}"
                return f"a text of {1 if self.default else 0} to {MAX_TEXT_CHARACTERS} characters"
            case _:
                return "a list of texts"

    def read(self, value: object) -> object:
        """The value as `Config` holds it. Raises `ValueError` with a clause if it is not as `expected`."""
        match self.default, value:
            case bool(), bool():
                return value
            case bool(), _:
                pass
            case int(), int() | float() if not isinstance(value, bool) and self.low <= value <= self.high:
                if value == int(value):  # some clients send every number as a float
                    return int(value)
            case float(), int() | float() if not isinstance(value, bool) and self.low <= value <= self.high:
                return float(value)
            case str(), str() if value in (self.default, *self.choices) or (
                value.strip() and not self.choices and _is_usable(value)
            ):
                return value
            case tuple(), list() | tuple() if len(value) <= MAX_LIST_VALUES and all(map(_is_usable, value)):
                return tuple(value)
        raise ValueError(f"The setting {self.name} must be {self.expected}, not {quoted(value)}")


OPTIONS = tuple(Option(option.name, option.default, **option.metadata) for option in fields(Config))


def parse(settings: object, strict: bool = False) -> tuple[Config, tuple[str, ...]]:
    """A `Config` from settings by the options' names, and one sentence for each problem.

    A missing setting, or a setting that is null, is its default. ``strict``: the caller rejects settings with a
    problem, so that the sentences name no default. Never raises.
    """
    if not isinstance(settings, Mapping):
        return Config(), (
            f"The settings must be an object of options, not {quoted(settings)}"
            + ("." if strict else "; the defaults are used."),
        )
    values: dict[str, object] = {}
    known = EDITORS_OWN.union(Config.__dataclass_fields__)
    unknown = [name for name in settings if name not in known]
    problems = [_unknown(name) for name in unknown[:MAX_REPORTED_UNKNOWN]]
    if len(unknown) > MAX_REPORTED_UNKNOWN:
        problems.append(f"There are {len(unknown) - MAX_REPORTED_UNKNOWN} more settings that do not exist.")
    for option in OPTIONS:
        if settings.get(option.name) is not None:
            try:
                values[option.name] = option.read(settings[option.name])
            except ValueError as error:
                problems.append(f"{error}." if strict else f"{error}; {option.default!r} is used.")
    return Config(**values), tuple(problems)  # type: ignore[arg-type]  # read gave each its type


def _unknown(name: object) -> str:
    near = get_close_matches(str(name)[:QUOTED_CHARACTERS], Config.__dataclass_fields__, n=1)
    return f"There is no setting {quoted(name)}" + (f"; did you mean {near[0]}?" if near else ".")


def _is_usable(value: object) -> bool:
    """Whether a value is a text that the system and JSON can carry: no zero byte, no half of a surrogate pair."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or "\0" in value:
        return False
    return value.isascii() or value.encode(errors="replace").decode() == value

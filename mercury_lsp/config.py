"""Defines each option once (type, default, range, meaning) and parses settings into a `Config`.

A wrong setting is reported in one sentence and replaced by its default; it never stops the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from mercury_lsp.errors import MAX_QUOTED_CHARACTERS, quote
from mercury_lsp.models.selection import AUTO_MODEL

SECTION = "mercury"
# Settings in the same section that belong to an editor extension, not to the server.
EDITOR_SETTINGS = frozenset({"server", "trace", "drafts"})
# The limit for each text value: a path, an address, an argument of a program.
MAX_TEXT_CHARACTERS = 4096
MAX_LIST_VALUES = 256
# The values of `next_edit` that are not the name of a model.
NEXT_EDIT_KEYWORDS = ("local", "hosted", "off")
# Unknown settings that get a sentence of their own; the rest are only counted.
MAX_REPORTED_UNKNOWN = 10

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
    """The values of all options; `OPTIONS` describes each option."""

    enabled: bool = _option(True, "Whether the server suggests anything.")
    model: str = _option(
        AUTO_MODEL,
        "A model's name (such as small or mini), its folder or its GGUF file; auto takes the model selected with "
        "`mercury-lsp models select`, or small if none is selected.",
        guarded=True,
    )
    device: str = _option("auto", "The device that runs the model.", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = _option(0, "CPU threads; 0 takes the physical cores, but at most 4.", 0, 64)
    quantization: str = _option(
        "auto",
        "Precision of an open model's weights in memory; auto takes the highest that fits the device's memory.",
        choices=("auto", "none", "int8", "int4"),
    )
    nice: int = _option(
        0,
        "The server's nice value: at 19 the server yields the most to other programs, at 0 not at all.",
        0,
        19,
    )
    max_tokens: int = _option(64, "Maximum length of a suggestion, in tokens.", 4, 256)
    multiline: str = _option(
        "auto",
        "Whether suggestions may have several lines; auto decides by the syntax.",
        choices=("auto", "never", "always"),
    )
    show_likelihood: float = _option(
        0.5,
        "Minimum likelihood of the first word of an automatic suggestion, as the model rates it. The value applies to "
        "a word of 6 characters; a longer text may be less likely, and the server cuts off a doubtful end. 0 shows "
        "everything.",
        0,
        1,
    )
    deadline_ms: int = _option(
        0,
        "Milliseconds after a request at which the server shows the committed text; a manual request has ten times as "
        "long. 0 means 250 on a CPU and 60 on a GPU.",
        0,
        60_000,
    )
    anticipate: bool = _option(
        True,
        "Whether the server starts to work at each change, before the editor's request (prefetch), and continues after "
        "a shown suggestion.",
    )
    next_edit: str = _option(
        "local",
        "Source of the next edit: `local` repeats your last edit at other places where it applies; `hosted` also sends "
        "recent edits and the lines around the cursor to `remote_url`; the name, folder or file of an open next-edit "
        "model lets this model rewrite those lines on this machine; `off` suggests no edits.",
        guarded=True,
    )
    context_tokens: int = _option(
        704,
        "Tokens around the cursor that the model sees: 8 of 11 before the cursor, the rest from the lines after it.",
        16,
        8192,
    )
    project_files: str = _option(
        "all",
        "Which other files of the project suggestions may use: all files, in an index of at most 32 MB that the server "
        "builds in the background; only open files; or none.",
        choices=("all", "open", "none"),
    )
    complete_ignored: bool = _option(
        True, "Whether the local model completes documents that the project ignores; they are never sent."
    )
    disabled_languages: tuple[str, ...] = _option((), "Language ids without suggestions.")
    in_strings_and_comments: bool = _option(
        True, "Whether there are automatic suggestions in strings and comments."
    )
    debounce_ms: int = _option(
        -1,
        "Wait for further typing, in milliseconds. -1 adapts the wait: usually none, but if `anticipate` is off and "
        "keys come faster than answers, until the next key is overdue.",
        -1,
        1000,
    )
    remote: str = _option(
        "off",
        "Whether the server asks a hosted model: off, always, or fallback, which asks only if the local suggestion is "
        "too unlikely. The server then sends the text around the cursor to `remote_url`.",
        choices=("off", "always", "fallback"),
        guarded=True,
    )
    remote_url: str = _option(
        "",
        "Address of the hosted model, such as https://api.example.com/v1, to which the server adds `/fim/completions`. "
        "With an address that ends in `/completions`, the server uses OpenAI's completions API with a suffix.",
        guarded=True,
    )
    remote_model: str = _option("", "Name of the hosted model.")
    remote_key_env: str = _option(
        "MERCURY_API_KEY", "Environment variable that holds the key of the hosted model.", guarded=True
    )
    remote_key_command: tuple[str, ...] = _option(
        (),
        "Program, with its arguments, that prints the key instead; the server runs it without a shell.",
        guarded=True,
    )
    history_days: int = _option(
        90,
        "Days for which this machine keeps a record of suggestions: counts and times, never code; 0 turns the record "
        "off.",
        0,
        3650,
    )
    log_level: str = _option(
        "warning",
        "Minimum level of messages in the log on stderr.",
        choices=("error", "warning", "info", "debug"),
    )

    @property
    def prefix_tokens(self) -> int:
        """The number of context tokens for the text before the cursor."""
        return self.context_tokens * 8 // 11

    @property
    def following_tokens(self) -> int:
        """The number of context tokens for the lines after the cursor's line."""
        return self.context_tokens - self.prefix_tokens


@dataclass(frozen=True, slots=True)
class Option:
    """The description of one option of `Config`.

    `low` and `high` bound a number, `choices` lists the allowed texts, and the type is that of `default`. `guarded`
    marks an option that can run a program, name a host or an environment variable, or load files; see `trust`.
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
        """The phrase that completes the sentence `The setting x must be ...`."""
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
                return f"a string of {1 if self.default else 0} to {MAX_TEXT_CHARACTERS} characters"
            case _:
                return "a list of strings"

    def parse(self, value: object) -> object:
        """Return the value in the type that `Config` holds. Raises `ValueError` if the value is not as `expected`."""
        match self.default, value:
            case bool(), bool():
                return value
            case bool(), _:
                pass
            case int(), int() | float() if not isinstance(value, bool) and self.low <= value <= self.high:
                # Some clients send every number as a float.
                if value == int(value):
                    return int(value)
            case float(), int() | float() if not isinstance(value, bool) and self.low <= value <= self.high:
                return float(value)
            case str(), str() if value in (self.default, *self.choices) or (
                value.strip() and not self.choices and _is_usable(value)
            ):
                return value
            case tuple(), list() | tuple() if len(value) <= MAX_LIST_VALUES and all(map(_is_usable, value)):
                return tuple(value)
        raise ValueError(f"The setting {self.name} must be {self.expected}, not {quote(value)}")


OPTIONS = tuple(Option(option.name, option.default, **option.metadata) for option in fields(Config))


def parse_settings(settings: object, strict: bool = False) -> tuple[Config, tuple[str, ...]]:
    """Parse a mapping from option names to values; return a `Config` and one sentence for each problem.

    A missing or null setting gets its default. ``strict``: the caller rejects settings with a problem, so the sentences
    name no default. Never raises.
    """
    if not isinstance(settings, Mapping):
        return Config(), (
            f"The settings must be an object of options, not {quote(settings)}"
            + ("." if strict else "; the defaults are used."),
        )
    values: dict[str, object] = {}
    known = EDITOR_SETTINGS.union(Config.__dataclass_fields__)
    unknown_names = [name for name in settings if name not in known]
    problems = [_unknown_setting_message(name) for name in unknown_names[:MAX_REPORTED_UNKNOWN]]
    if len(unknown_names) > MAX_REPORTED_UNKNOWN:
        problems.append(
            f"There are {len(unknown_names) - MAX_REPORTED_UNKNOWN} more settings that do not exist."
        )
    for option in OPTIONS:
        if settings.get(option.name) is not None:
            try:
                values[option.name] = option.parse(settings[option.name])
            except ValueError as error:
                problems.append(f"{error}." if strict else f"{error}; {option.default!r} is used.")
    return Config(**values), tuple(problems)  # type: ignore[arg-type]  # read gave each its type


def _unknown_setting_message(name: object) -> str:
    similar_names = get_close_matches(str(name)[:MAX_QUOTED_CHARACTERS], Config.__dataclass_fields__, n=1)
    return f"There is no setting {quote(name)}" + (
        f"; did you mean {similar_names[0]}?" if similar_names else "."
    )


def _is_usable(value: object) -> bool:
    """Return whether a value is a text without zero bytes and lone surrogates, within `MAX_TEXT_CHARACTERS`."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or "\0" in value:
        return False
    return value.isascii() or value.encode(errors="replace").decode() == value

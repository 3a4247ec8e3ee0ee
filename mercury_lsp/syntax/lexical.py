"""Finds comments and strings in languages without a grammar, by a table of their delimiters.

One regular expression per language scans a text once, in linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

Kind = Literal["string", "comment"]

CURLY, ALL = "[]{}", "()[]{}"

# After a word that is no string prefix, ' is an apostrophe; after `&` and `<` it begins a lifetime.
_BEFORE_STRING = r"(?:(?<![\w&<])|(?<=\b[bfruBFRU])|(?<=\b[bfruBFRU]{2}))"


class Span(NamedTuple):
    """A comment or a string from `start` to `end`; `open`: a character typed at its end belongs to it."""

    start: int
    end: int
    kind: Kind
    open: bool


@dataclass(frozen=True, slots=True)
class Lexis:
    """The marks of a language's comments, strings and brackets."""

    line_comments: tuple[str, ...] = ()
    block_comments: tuple[tuple[str, str], ...] = ()
    quotes: str = ""
    """Quotes of strings that end in the same line."""
    long_quotes: tuple[str, ...] = ()
    """Quotes of strings of any number of lines."""
    characters: bool = False
    """Whether ' quotes single characters only, and may otherwise be part of a name."""
    escaped: str = ""
    """A regular expression of a character outside strings, such as `?\\(` of Emacs Lisp."""
    brackets: str = ALL
    trailing_commas: bool = True
    """Whether a comma may precede a closing bracket."""
    tight: bool = False
    """Whether a closing brace usually follows other text in its line."""
    prose: bool = False
    """Whether most of the text is for people, so that brackets and quotes need not match."""
    line_starts: bool = False
    """Whether only comments at the start of a line are recognized."""

    def spans(self, text: str) -> tuple[Span, ...]:
        """Return the comments and strings of a text, in order."""
        return _spans(self, text)

    def at(self, text: str, offset: int) -> Kind | None:
        """Return whether a character typed at an offset would be in a string or a comment; None for code."""
        spans = self.spans(text)
        i = bisect_right(spans, offset, key=lambda span: span.start) - 1
        if i >= 0 and spans[i].start == offset:
            i -= 1
        if i < 0:
            return None
        span = spans[i]
        return span.kind if offset < span.end or (offset == span.end and span.open) else None


_C_BLOCK = (("/*", "*/"),)
_MARKUP_BLOCK = (("<!--", "-->"),)
_C_LIKE = Lexis(("//",), _C_BLOCK, "\"'")
_CHARACTERS = Lexis(("//",), _C_BLOCK, '"', ('"""',), characters=True)
_SHARP = Lexis(("#",), (), "\"'", ('"""', "'''"))
_DATA = Lexis(("#",), (), "\"'", brackets=CURLY)
_SQL = Lexis(("--",), _C_BLOCK, "\"'`", trailing_commas=False)
_LISP = Lexis((";",), (("#|", "|#"),), "", ('"',), escaped=r"\\\S|\?\\?[()\[\];\"']", tight=True)
_ML = Lexis((), (("(*", "*)"),), '"', characters=True)
_PROSE = Lexis(brackets="", prose=True)
_MARKUP = Lexis((), _MARKUP_BLOCK, brackets="", prose=True)

UNKNOWN = Lexis(("#", "//"), (), '"`', line_starts=True)
"""The marks for languages that are not in the table."""

_TABLE: tuple[tuple[Lexis, str, str], ...] = (
    (Lexis(("//",), _C_BLOCK, "\"'", ('"""', "'''")), "dart groovy", ".dart .groovy .gradle"),
    (_CHARACTERS, "csharp kotlin swift scala", ".cs .csx .kt .kts .swift .scala .sc"),
    (Lexis(("//",), _C_BLOCK, '"', characters=True), "zig d odin v", ".zig .d .odin .v"),
    (_C_LIKE, "css scss sass less jsonc json5 proto proto3 solidity glsl hlsl wgsl objective-c",
     ".css .scss .sass .less .jsonc .json5 .proto .sol .glsl .hlsl .wgsl .m .mm"),
    (Lexis((), (), '"', trailing_commas=False), "json jsonl geojson", ".json .jsonl .geojson .webmanifest"),
    (_SHARP, "toml julia nim coffeescript elixir gdscript starlark",
     ".toml .jl .nim .coffee .ex .exs .gd .bzl .star"),
    (Lexis(("#",), (), "\"'`"), "r perl fish powershell makefile cmake awk tcl nix just",
     ".r .pl .pm .fish .ps1 .mk .cmake .awk .tcl .nix"),
    (_DATA, "yaml yml dockercompose helm", ".yaml .yml"),
    (Lexis(("#", "//"), _C_BLOCK, '"'), "terraform hcl", ".tf .tfvars .hcl"),
    (Lexis(("#",), (), "", brackets=""), "dockerfile ignore gitignore gitattributes properties pip-requirements",
     ".properties .gitignore .dockerignore .env .conf"),
    (Lexis((";", "#"), (), "", brackets="", line_starts=True), "ini editorconfig", ".ini .cfg .desktop"),
    (_SQL, "sql mysql postgres pgsql plsql sqlite tsql", ".sql .psql .ddl"),
    (Lexis(("--",), (("--[[", "]]"),), "\"'"), "lua luau", ".lua .luau"),
    (Lexis(("--",), (("{-", "-}"),), '"', characters=True), "haskell elm purescript idris agda",
     ".hs .lhs .elm .purs .idr .agda"),
    (_LISP, "lisp emacs-lisp elisp commonlisp common-lisp scheme racket clojure fennel",
     ".lisp .lsp .el .cl .scm .ss .rkt .clj .cljs .cljc .edn .fnl"),
    (_ML, "ocaml sml", ".ml .mli .sml"),
    (Lexis(("//",), (("(*", "*)"),), '"', ('"""',), characters=True), "fsharp", ".fs .fsi .fsx"),
    (Lexis(("%",), (), '"', escaped=r"\$."), "erlang prolog", ".erl .hrl .pro"),
    (Lexis(("%",), (), "", escaped=r"\\.", brackets="{}", tight=True), "latex tex bibtex", ".tex .sty .cls .bib"),
    (Lexis(("'",), (), '"'), "vb vbscript", ".vb .vbs .bas"),
    (Lexis(("!",), (), "\"'"), "fortran fortran-modern FortranFreeForm", ".f90 .f95 .f03 .f08"),
    (Lexis(("--",), (), '"', characters=True), "ada vhdl", ".adb .ads .vhd .vhdl"),
    (Lexis(("//",), (("(*", "*)"), ("{", "}")), "'", brackets="()[]"), "pascal delphi", ".pas .dpr"),
    (Lexis(("//",), _C_BLOCK, '"'), "verilog systemverilog", ".sv .svh"),
    (Lexis(("#",), (), "\"'", ('"""',)), "graphql", ".graphql .gql"),
    (Lexis((), (*_MARKUP_BLOCK, *_C_BLOCK), "\"`"), "vue vue-html svelte astro", ".vue .svelte .astro"),
    (_MARKUP, "markdown mdx html xml svg xhtml handlebars jinja jinja-html django-html htmldjango "
     "xsl quarto",
     ".md .markdown .mdx .html .htm .xml .svg .xhtml .hbs .jinja .j2 .xsl .xsd .qmd .rmd"),
    (_PROSE, "plaintext text restructuredtext rst asciidoc org git-commit gitcommit mail",
     ".txt .text .rst .adoc .org .eml"),
)  # fmt: skip

_BY_ID = {name: lexis for lexis, names, _ in _TABLE for name in names.split()}
_BY_SUFFIX = {suffix: lexis for lexis, _, suffixes in _TABLE for suffix in suffixes.split()}


def for_document(language_id: str, path: str) -> Lexis:
    """Return the marks of a language by the editor's identifier, or else by the file's suffix."""
    name = PurePosixPath(path)
    # `.gitignore` has no suffix.
    suffix = (name.suffix or name.name).lower()
    return _BY_ID.get(language_id) or _BY_SUFFIX.get(suffix) or UNKNOWN


@cache
def of_code(line_comment: str, offside: bool) -> Lexis:
    """Return the marks of a language with a grammar, for lines whose tree is broken or missing."""
    marks = (line_comment,) if line_comment else ()
    if offside:
        return Lexis(marks, quotes="\"'`", long_quotes=('"""', "'''"))
    if line_comment == "//":
        return Lexis(marks, _C_BLOCK, "\"'", ("`",))
    return Lexis(marks, quotes="\"'`")


@lru_cache(maxsize=4)
def _spans(lexis: Lexis, text: str) -> tuple[Span, ...]:
    found = []
    for match in _pattern(lexis).finditer(text):
        token, group = match.group(), match.lastgroup
        # A line comment, and any span without an end mark, is open at its end.
        is_open = group == "line" or (group != "character" and not token.endswith(_end(lexis, token, group)))
        found.append(Span(*match.span(), "comment" if group in ("line", "block") else "string", is_open))
    return tuple(found)


def _end(lexis: Lexis, token: str, group: str | None) -> str:
    """Return the end mark of a comment or string; "\\0", which never matches, if the token has only its start mark."""
    if group == "block":
        begin, end = max((pair for pair in lexis.block_comments if token.startswith(pair[0])), key=len)
    else:
        begin = end = max(
            (quote for quote in (*lexis.long_quotes, *lexis.quotes, "'") if token.startswith(quote)), key=len
        )
        backslashes = len(token) - len(end) - len(token[: -len(end)].rstrip("\\"))
        if backslashes % 2 and token.endswith(end):
            return "\0"
    return end if len(token) >= len(begin) + len(end) else "\0"


@cache
def _pattern(lexis: Lexis) -> re.Pattern[str]:
    groups = []
    if lexis.escaped:
        groups.append(f"(?P<character>{lexis.escaped})")
    if lexis.block_comments:
        pairs = (f"{re.escape(start)}(?s:.*?)(?:{re.escape(end)}|\\Z)" for start, end in lexis.block_comments)
        groups.append(f"(?P<block>{'|'.join(pairs)})")
    if lexis.line_comments:
        groups.append(f"(?P<line>{_line_comment(lexis)})")
    if lexis.long_quotes:
        groups.append(f"(?P<long>{'|'.join(map(_long_string, lexis.long_quotes))})")
    strings = [_string(quote) for quote in lexis.quotes]
    if lexis.characters:
        strings.append(r"(?<!\w)'(?:[^\\'\r\n]|\\[^\r\n][^'\r\n]{0,8})'")
    if strings:
        groups.append(f"(?P<string>{'|'.join(strings)})")
    return re.compile("|".join(groups) if groups else r"(?!)", re.MULTILINE)


def _string(quote: str) -> str:
    before = _BEFORE_STRING if quote == "'" else ""
    return rf"{before}{quote}(?:[^\\{quote}\r\n]|\\[^\r\n])*+{quote}?"


def _long_string(quote: str) -> str:
    inner = f"|{quote[0]}(?!{quote[1:]})" if len(quote) > 1 else ""
    return rf"{quote}(?:[^\\{quote[0]}]|\\(?s:.){inner})*+(?:{quote}|\Z)"


def _line_comment(lexis: Lexis) -> str:
    marks = "|".join(re.escape(mark) for mark in lexis.line_comments)
    if lexis.line_starts:
        return rf"^[ \t]*(?:{marks})[^\r\n]*"
    # Marks within a word such as `a#b` or `http://x` begin no comment; Haskell's `-->` is an operator.
    after = r"(?![!#$%&*+./<=>?@\\^|~:])" if ("{-", "-}") in lexis.block_comments else ""
    before = (
        r"(?<!:)" if "//" in lexis.line_comments else r"(?<![\\\w$&])" if "#" in lexis.line_comments else ""
    )
    return rf"{before}(?:{marks}){after}[^\r\n]*"

"""Lists the languages with a tree-sitter grammar, and their node kinds.

Each grammar is loaded from its own wheel at first use. A grammar that is missing or does not load is logged once; its
language is then analyzed by its lines.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath

from tree_sitter import Language as Grammar

_log = logging.getLogger(__name__)
_BRACE = r"\{$|^(case\b.*|default\s*):$"
"""Matches a stripped line without comments after which a body must follow."""


@dataclass(frozen=True, slots=True)
class Language:
    """The syntax of a language; node kinds are those of the grammar's ``node-types.json``.

    `ids`: LSP language identifiers. `line_comment`: the mark of a comment up to the end of the line, or empty.
    `opener`: a regular expression for a logical line after which a body must follow; in a logical line the head of a
    statement is joined to one line, with blanked comments, and quotes for strings. `interpolations`: code inside
    strings. `strays`: nodes that the grammar accepts, but the current language does not. `tight`: nodes whose closing
    brace may begin a line only after a comma. `offside`: indentation delimits blocks. `prose`: most of the text is for
    people. `indexed`: files of the language may give related text and are in the project memory.
    """

    name: str
    ids: tuple[str, ...]
    suffixes: tuple[str, ...]
    module: str
    function: str = "language"
    line_comment: str = "//"
    opener: str = _BRACE
    comments: tuple[str, ...] = ("comment",)
    strings: tuple[str, ...] = ()
    interpolations: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    brackets: str = "()[]{}"
    tight: tuple[str, ...] = ()
    offside: bool = False
    prose: bool = False
    indexed: bool = True

    def grammar(self) -> Grammar | None:
        """Return the grammar; None if it cannot be loaded."""
        return _grammar(self.module, self.function)


@cache
def _grammar(module: str, function: str) -> Grammar | None:
    try:
        return Grammar(getattr(importlib.import_module(module), function)())
    except (ImportError, AttributeError, ValueError) as error:
        _log.warning("no grammar from %s, its files are treated by indentation: %s", module, error)
        return None


_SCRIPT_BODIES = ("statement_block", "class_body", "switch_body")
_SCRIPT_STRINGS = ("string", "template_string", "regex")
_C_STRINGS = ("string_literal", "char_literal", "system_lib_string", "raw_string_literal")
_C_BODIES = ("compound_statement", "field_declaration_list", "enumerator_list", "declaration_list")

_TYPESCRIPT = Language(
    "TypeScript", ("typescript",), (".ts", ".mts", ".cts"), "tree_sitter_typescript", "language_typescript",
    strings=_SCRIPT_STRINGS,
    interpolations=("template_substitution",),
    bodies=(*_SCRIPT_BODIES, "interface_body", "enum_body"),
)  # fmt: skip

LANGUAGES = (
    Language(
        "Python", ("python",), (".py", ".pyi", ".pyw"), "tree_sitter_python",
        line_comment="#",
        opener=r"^(async\s+)?(def|class|if|elif|else|for|while|try|except|finally|with|match|case)\b.*:$",
        strings=("string",),
        interpolations=("interpolation",),
        bodies=("block",),
        strays=("print_statement", "exec_statement"),
        offside=True,
    ),
    Language(
        "JavaScript", ("javascript", "javascriptreact"), (".js", ".jsx", ".mjs", ".cjs"), "tree_sitter_javascript",
        comments=("comment", "html_comment"),
        strings=_SCRIPT_STRINGS,
        interpolations=("template_substitution",),
        bodies=_SCRIPT_BODIES,
    ),
    _TYPESCRIPT,
    replace(_TYPESCRIPT, name="TSX", ids=("typescriptreact",), suffixes=(".tsx",), function="language_tsx"),
    Language(
        "Go", ("go",), (".go",), "tree_sitter_go",
        strings=("interpreted_string_literal", "raw_string_literal", "rune_literal"),
        bodies=("block", "field_declaration_list"),
        tight=("literal_value",),
    ),
    Language(
        "Rust", ("rust",), (".rs",), "tree_sitter_rust",
        comments=("line_comment", "block_comment"),
        strings=("string_literal", "raw_string_literal", "char_literal"),
        bodies=("block", "declaration_list", "match_block", "field_declaration_list", "enum_variant_list"),
    ),
    Language(
        "C", ("c",), (".c", ".h"), "tree_sitter_c",
        strings=_C_STRINGS[:3],
        bodies=_C_BODIES,
    ),
    Language(
        "C++", ("cpp", "cuda-cpp"), (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".c++", ".h++", ".cu", ".cuh"),
        "tree_sitter_cpp",
        strings=_C_STRINGS,
        bodies=_C_BODIES,
    ),
    Language(
        "Java", ("java",), (".java",), "tree_sitter_java",
        comments=("line_comment", "block_comment"),
        strings=("string_literal", "character_literal"),
        interpolations=("string_interpolation",),
        bodies=("block", "constructor_body", "class_body", "interface_body", "enum_body", "switch_block"),
    ),
    Language(
        "Bash", ("shellscript", "sh", "bash"), (".sh", ".bash"), "tree_sitter_bash",
        line_comment="#",
        opener=r"\{$|\b(then|do|else|in)$|^[^()]*\)$",
        strings=("string", "raw_string", "ansi_c_string", "heredoc_body", "regex"),
        interpolations=("expansion", "command_substitution"),
        bodies=("compound_statement", "do_group"),
        # Items of `case` have a closing parenthesis without an opening one.
        brackets="[]{}",
    ),
    Language(
        "PHP", ("php",), (".php", ".phtml"), "tree_sitter_php", "language_php",
        opener=_BRACE + r"|^(if|elseif|else|for|foreach|while|switch)\b.*:$",
        strings=("string", "encapsed_string", "heredoc_body", "nowdoc_body"),
        interpolations=("expression", "subscript_expression", "member_access_expression"),
        bodies=("compound_statement", "declaration_list", "switch_block", "match_block", "colon_block"),
    ),
    Language(
        "Ruby", ("ruby",), (".rb", ".rake", ".gemspec"), "tree_sitter_ruby",
        line_comment="#",
        opener=(
            r"^(def\b(?!\s+\S+?(\(.*\))?\s+=\s)|(class|module|if|unless|while|until|for|case|begin|else|elsif|when"
            r"|rescue|ensure)\b)(?!.*\b(end|then\b.+)$)|(\bdo|\{)(\s*\|[^|]*\|)?$"
        ),
        strings=("string", "string_array", "symbol_array", "subshell", "regex", "heredoc_body", "character"),
        interpolations=("interpolation",),
        bodies=("body_statement", "block_body", "then", "do"),
    ),
    Language(
        "C#", ("csharp",), (".cs", ".csx"), "tree_sitter_c_sharp",
        strings=(
            "string_literal", "verbatim_string_literal", "raw_string_literal", "character_literal",
            "interpolated_string_expression",
        ),
        interpolations=("interpolation",),
        bodies=("block", "declaration_list", "enum_member_declaration_list", "switch_body"),
    ),
    Language(
        "Kotlin", ("kotlin",), (".kt", ".kts"), "tree_sitter_kotlin",
        comments=("line_comment", "block_comment"),
        strings=("string_literal", "multiline_string_literal", "character_literal"),
        interpolations=("interpolation",),
        bodies=("block", "class_body", "enum_class_body"),
    ),
    Language(
        "Swift", ("swift",), (".swift",), "tree_sitter_swift",
        comments=("comment", "multiline_comment"),
        strings=("line_string_literal", "multi_line_string_literal", "raw_string_literal"),
        interpolations=("interpolated_expression",),
        bodies=("function_body", "class_body", "enum_class_body", "protocol_body"),
    ),
    Language(
        "Lua", ("lua",), (".lua",), "tree_sitter_lua",
        line_comment="--",
        opener=r"\b(then|do|else|repeat)$|\bfunction\b[^()]*\([^()]*\)$",
        strings=("string",),
        bodies=("block",),
    ),
    Language(
        "CSS", ("css",), (".css",), "tree_sitter_css",
        line_comment="", strings=("string_value",), bodies=("block",), indexed=False,
    ),
    Language(
        "HTML", ("html",), (".html", ".htm"), "tree_sitter_html",
        line_comment="", strays=("erroneous_end_tag",), brackets="", prose=True, indexed=False,
    ),
)  # fmt: skip

_BY_ID = {identifier: language for language in LANGUAGES for identifier in language.ids}
_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}


def for_document(language_id: str, path: str) -> Language | None:
    """Return the language by the editor's identifier, or else by the file's suffix, because identifiers differ."""
    return _BY_ID.get(language_id) or _BY_SUFFIX.get(PurePosixPath(path).suffix.lower())

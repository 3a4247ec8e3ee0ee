"""Lists the languages with a known syntax, with the names of their tree-sitter grammars.

Each grammar is loaded from its own wheel at first use. A grammar that is missing or does not load is logged once, and
its language is treated by indentation like any other.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from tree_sitter import Language as Grammar

_log = logging.getLogger(__name__)
_BRACE = r"\{$|^(case\b.*|default\s*):$"
"""A line without comments and outer blanks, after which a body must follow."""


@dataclass(frozen=True, slots=True)
class Language:
    """The syntax of a language; names of node kinds are those of the grammar's ``node-types.json``.

    `ids`: LSP language identifiers. `line_comment`: the mark of a comment up to the end of the line, or empty.
    `opener`: a regular expression that finds the start of a body at the end of a logical line (all of a statement's
    head on one line, with blanked comments and with quotes for strings). `interpolations`: code inside strings.
    `strays`: nodes that the grammar accepts, but today's language does not. `tight`: nodes whose closing brace may
    begin a line only after a comma. `offside`: blocks are indented. `prose`: most of the text is for people.
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
    definitions: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ("argument_list",)
    brackets: str = "()[]{}"
    tight: tuple[str, ...] = ()
    offside: bool = False
    prose: bool = False
    outline: tuple[str, ...] = ()
    """Patterns of a tree query for the names of definitions; without patterns, other files are not read."""
    imports: str = ""
    """A regular expression of import statements, with `^` at the start of lines."""

    def grammar(self) -> Grammar | None:
        """The grammar; None if it cannot be loaded."""
        return _grammar(self.module, self.function)


@cache
def _grammar(module: str, function: str) -> Grammar | None:
    try:
        return Grammar(getattr(importlib.import_module(module), function)())
    except (ImportError, AttributeError, ValueError) as error:
        _log.warning("no grammar from %s, its files are treated by indentation: %s", module, error)
        return None


_SCRIPT_DEFINITIONS = (
    "function_declaration", "generator_function_declaration", "function_expression", "arrow_function",
    "method_definition", "class_declaration", "class",
)  # fmt: skip
_TYPE_DEFINITIONS = (
    *_SCRIPT_DEFINITIONS, "abstract_class_declaration", "interface_declaration", "enum_declaration", "internal_module",
)  # fmt: skip
_SCRIPT_BODIES = ("statement_block", "class_body", "switch_body")
_TYPE_BODIES = (*_SCRIPT_BODIES, "interface_body", "enum_body")
_SCRIPT_STRINGS = ("string", "template_string", "regex")
_C_STRINGS = ("string_literal", "char_literal", "system_lib_string", "raw_string_literal")
_C_BODIES = ("compound_statement", "field_declaration_list", "enumerator_list", "declaration_list")

_SCRIPT_OUTLINE = (
    "function_declaration name: (_) @name", "generator_function_declaration name: (_) @name",
    "method_definition name: (_) @name", "class_declaration name: (_) @name",
    "lexical_declaration (variable_declarator name: (identifier) @name)",
    "assignment_expression left: (member_expression property: (_) @name) right: (function_expression)",
)  # fmt: skip
_TYPE_OUTLINE = (
    *_SCRIPT_OUTLINE, "abstract_class_declaration name: (_) @name", "interface_declaration name: (_) @name",
    "enum_declaration name: (_) @name", "type_alias_declaration name: (_) @name",
    "function_signature name: (_) @name",
)  # fmt: skip
_SCRIPT_IMPORTS = (
    r"^(?:import|export)\b(?=[^;'\"=(]*['\"])[^;'\"=(]*['\"][^'\"\n]*['\"];?"
    r"|^(?:const|let|var)\s[^;=]*=\s*require\([^)\n]*\);?"
)
_C_OUTLINE = (
    "function_definition declarator: (_ declarator: (identifier) @name)",
    "function_definition declarator: (_ declarator: (_ declarator: (identifier) @name))",
    "declaration declarator: (function_declarator declarator: (identifier) @name)",
    "declaration declarator: (_ declarator: (function_declarator declarator: (identifier) @name))",
    "struct_specifier name: (_) @name body: (_)", "enum_specifier name: (_) @name body: (_)",
    "union_specifier name: (_) @name body: (_)", "type_definition declarator: (type_identifier) @name",
    "preproc_function_def name: (_) @name", "preproc_def name: (_) @name",
)  # fmt: skip
_C_IMPORTS = r"^[ \t]*#[ \t]*include[^\n]*"

LANGUAGES = (
    Language(
        "Python", ("python",), (".py", ".pyi", ".pyw"), "tree_sitter_python",
        line_comment="#",
        opener=r"^(async\s+)?(def|class|if|elif|else|for|while|try|except|finally|with|match|case)\b.*:$",
        strings=("string",),
        interpolations=("interpolation",),
        definitions=("function_definition", "class_definition"),
        bodies=("block",),
        strays=("print_statement", "exec_statement"),
        offside=True,
        outline=(
            "function_definition name: (_) @name", "class_definition name: (_) @name",
        ),
        imports=r"^[ \t]*(?:from\s+[\w.]+\s+import\s*(?:\([^)]*\)|[^\n]*)|import\s[^\n]*)",
    ),
    Language(
        "JavaScript", ("javascript", "javascriptreact"), (".js", ".jsx", ".mjs", ".cjs"), "tree_sitter_javascript",
        comments=("comment", "html_comment"),
        strings=_SCRIPT_STRINGS,
        interpolations=("template_substitution",),
        definitions=_SCRIPT_DEFINITIONS,
        bodies=_SCRIPT_BODIES,
        arguments=("arguments",),
        outline=_SCRIPT_OUTLINE,
        imports=_SCRIPT_IMPORTS,
    ),
    Language(
        "TypeScript", ("typescript",), (".ts", ".mts", ".cts"), "tree_sitter_typescript", "language_typescript",
        strings=_SCRIPT_STRINGS,
        interpolations=("template_substitution",),
        definitions=_TYPE_DEFINITIONS,
        bodies=_TYPE_BODIES,
        arguments=("arguments",),
        outline=_TYPE_OUTLINE,
        imports=_SCRIPT_IMPORTS,
    ),
    Language(
        "TSX", ("typescriptreact",), (".tsx",), "tree_sitter_typescript", "language_tsx",
        strings=_SCRIPT_STRINGS,
        interpolations=("template_substitution",),
        definitions=_TYPE_DEFINITIONS,
        bodies=_TYPE_BODIES,
        arguments=("arguments",),
        outline=_TYPE_OUTLINE,
        imports=_SCRIPT_IMPORTS,
    ),
    Language(
        "Go", ("go",), (".go",), "tree_sitter_go",
        strings=("interpreted_string_literal", "raw_string_literal", "rune_literal"),
        definitions=("function_declaration", "method_declaration", "func_literal", "type_declaration"),
        bodies=("block", "field_declaration_list"),
        tight=("literal_value",),
        outline=(
            "function_declaration name: (_) @name", "method_declaration name: (_) @name", "type_spec name: (_) @name",
            "const_spec name: (_) @name",
        ),
        imports=r"^import\s*(?:\([^)]*\)|[^\n]*)",
    ),
    Language(
        "Rust", ("rust",), (".rs",), "tree_sitter_rust",
        comments=("line_comment", "block_comment"),
        strings=("string_literal", "raw_string_literal", "char_literal"),
        definitions=("function_item", "impl_item", "trait_item", "struct_item", "enum_item", "mod_item"),
        bodies=("block", "declaration_list", "match_block", "field_declaration_list", "enum_variant_list"),
        arguments=("arguments",),
        outline=(
            "function_item name: (_) @name", "trait_item name: (_) @name", "struct_item name: (_) @name",
            "enum_item name: (_) @name", "type_item name: (_) @name", "const_item name: (_) @name",
            "function_signature_item name: (_) @name", "macro_definition name: (_) @name",
        ),
        imports=r"^[ \t]*(?:pub(?:\([^)]*\))?\s+)?(?:use\s[^;]*;|mod\s+\w+;)",
    ),
    Language(
        "C", ("c",), (".c", ".h"), "tree_sitter_c",
        strings=_C_STRINGS[:3],
        definitions=("function_definition", "struct_specifier", "enum_specifier", "union_specifier"),
        bodies=_C_BODIES,
        outline=_C_OUTLINE,
        imports=_C_IMPORTS,
    ),
    Language(
        "C++", ("cpp", "cuda-cpp"), (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".c++", ".h++", ".cu", ".cuh"),
        "tree_sitter_cpp",
        strings=_C_STRINGS,
        definitions=(
            "function_definition", "class_specifier", "struct_specifier", "enum_specifier", "union_specifier",
            "namespace_definition", "lambda_expression",
        ),
        bodies=_C_BODIES,
        outline=(
            *_C_OUTLINE, "class_specifier name: (_) @name body: (_)",
            "function_definition declarator: (function_declarator declarator: (field_identifier) @name)",
            "function_definition declarator: (function_declarator declarator: (_ name: (identifier) @name))",
            "field_declaration declarator: (function_declarator declarator: (field_identifier) @name)",
        ),
        imports=_C_IMPORTS + r"|^[ \t]*using\s[^;]*;",
    ),
    Language(
        "Java", ("java",), (".java",), "tree_sitter_java",
        comments=("line_comment", "block_comment"),
        strings=("string_literal", "character_literal"),
        interpolations=("string_interpolation",),
        definitions=(
            "method_declaration", "constructor_declaration", "class_declaration", "interface_declaration",
            "enum_declaration", "record_declaration", "lambda_expression",
        ),
        bodies=("block", "constructor_body", "class_body", "interface_body", "enum_body", "switch_block"),
        outline=(
            "method_declaration name: (_) @name", "constructor_declaration name: (_) @name",
            "class_declaration name: (_) @name", "interface_declaration name: (_) @name",
            "enum_declaration name: (_) @name", "record_declaration name: (_) @name",
        ),
        imports=r"^import\s[^;]*;",
    ),
    Language(
        "Bash", ("shellscript", "sh", "bash"), (".sh", ".bash"), "tree_sitter_bash",
        line_comment="#",
        opener=r"\{$|\b(then|do|else|in)$|^[^()]*\)$",
        strings=("string", "raw_string", "ansi_c_string", "heredoc_body", "regex"),
        interpolations=("expansion", "command_substitution"),
        definitions=("function_definition",),
        bodies=("compound_statement", "do_group"),
        arguments=(),
        brackets="[]{}",  # `case` items have a closing parenthesis alone
        outline=("function_definition name: (_) @name",),
        imports=r"^[ \t]*(?:source|\.)[ \t][^\n]*",
    ),
    Language(
        "PHP", ("php",), (".php", ".phtml"), "tree_sitter_php", "language_php",
        opener=_BRACE + r"|^(if|elseif|else|for|foreach|while|switch)\b.*:$",
        strings=("string", "encapsed_string", "heredoc_body", "nowdoc_body"),
        interpolations=("expression", "subscript_expression", "member_access_expression"),
        definitions=(
            "function_definition", "method_declaration", "class_declaration", "interface_declaration",
            "trait_declaration", "enum_declaration", "anonymous_function",
        ),
        bodies=("compound_statement", "declaration_list", "switch_block", "match_block", "colon_block"),
        arguments=("arguments",),
        outline=(
            "function_definition name: (_) @name", "method_declaration name: (_) @name",
            "class_declaration name: (_) @name", "interface_declaration name: (_) @name",
            "trait_declaration name: (_) @name", "enum_declaration name: (_) @name",
        ),
        imports=r"^[ \t]*(?:use\s[^;(]*;|(?:require|include)(?:_once)?\b[^;]*;)",
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
        definitions=("method", "singleton_method", "class", "module"),
        bodies=("body_statement", "block_body", "then", "do"),
        outline=(
            "method name: (_) @name", "singleton_method name: (_) @name", "class name: (_) @name",
            "module name: (_) @name",
        ),
        imports=r"^[ \t]*(?:require|require_relative|include|extend)\s[^\n]*",
    ),
    Language(
        "C#", ("csharp",), (".cs", ".csx"), "tree_sitter_c_sharp",
        strings=(
            "string_literal", "verbatim_string_literal", "raw_string_literal", "character_literal",
            "interpolated_string_expression",
        ),
        interpolations=("interpolation",),
        definitions=(
            "method_declaration", "constructor_declaration", "local_function_statement", "class_declaration",
            "interface_declaration", "struct_declaration", "enum_declaration", "record_declaration",
            "lambda_expression",
        ),
        bodies=("block", "declaration_list", "enum_member_declaration_list", "switch_body"),
        outline=(
            "method_declaration name: (_) @name", "constructor_declaration name: (_) @name",
            "class_declaration name: (_) @name", "interface_declaration name: (_) @name",
            "struct_declaration name: (_) @name", "enum_declaration name: (_) @name",
            "record_declaration name: (_) @name",
        ),
        imports=r"^[ \t]*(?:global\s+)?using\s[^;(]*;",
    ),
    Language(
        "Kotlin", ("kotlin",), (".kt", ".kts"), "tree_sitter_kotlin",
        comments=("line_comment", "block_comment"),
        strings=("string_literal", "multiline_string_literal", "character_literal"),
        interpolations=("interpolation",),
        definitions=("function_declaration", "class_declaration", "object_declaration", "lambda_literal"),
        bodies=("block", "class_body", "enum_class_body"),
        arguments=("value_arguments",),
        outline=(
            "function_declaration name: (_) @name", "class_declaration name: (_) @name",
            "object_declaration name: (_) @name",
        ),
        imports=r"^import\s[^\n]*",
    ),
    Language(
        "Swift", ("swift",), (".swift",), "tree_sitter_swift",
        comments=("comment", "multiline_comment"),
        strings=("line_string_literal", "multi_line_string_literal", "raw_string_literal"),
        interpolations=("interpolated_expression",),
        definitions=(
            "function_declaration", "init_declaration", "class_declaration", "protocol_declaration", "lambda_literal",
        ),
        bodies=("function_body", "class_body", "enum_class_body", "protocol_body"),
        arguments=("value_arguments",),
        outline=(
            "function_declaration name: (simple_identifier) @name", "class_declaration name: (_) @name",
            "protocol_declaration name: (_) @name",
        ),
        imports=r"^[ \t]*(?:@\w+\s+)?import\s[^\n]*",
    ),
    Language(
        "Lua", ("lua",), (".lua",), "tree_sitter_lua",
        line_comment="--",
        opener=r"\b(then|do|else|repeat)$|\bfunction\b[^()]*\([^()]*\)$",
        strings=("string",),
        definitions=("function_declaration", "function_definition"),
        bodies=("block",),
        arguments=("arguments",),
        outline=("function_declaration name: (_) @name",),
        imports=r"^[ \t]*(?:local\s[^=\n]*=\s*)?require\b[^\n]*",
    ),
    Language(
        "CSS", ("css",), (".css",), "tree_sitter_css",
        line_comment="", strings=("string_value",), bodies=("block",), arguments=("arguments",),
    ),
    Language(
        "HTML", ("html",), (".html", ".htm"), "tree_sitter_html",
        line_comment="", strays=("erroneous_end_tag",), arguments=(), brackets="", prose=True,
    ),
)  # fmt: skip

_BY_ID = {identifier: language for language in LANGUAGES for identifier in language.ids}
_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}


def for_document(language_id: str, path: str) -> Language | None:
    """The language by the editor's identifier, or else by the file's suffix, because identifiers differ."""
    return _BY_ID.get(language_id) or _BY_SUFFIX.get(PurePosixPath(path).suffix.lower())

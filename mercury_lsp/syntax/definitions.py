"""Lists the node kinds of definitions (functions, classes and similar) by language."""

from __future__ import annotations

from collections.abc import Mapping

from mercury_lsp.syntax import parsing
from mercury_lsp.syntax.tree import Syntax

_SCRIPT = (
    "function_declaration",
    "generator_function_declaration",
    "function_expression",
    "arrow_function",
    "method_definition",
    "class_declaration",
    "class",
)
_TYPED = (
    *_SCRIPT,
    "abstract_class_declaration",
    "interface_declaration",
    "enum_declaration",
    "internal_module",
)

DEFINITIONS: Mapping[str, tuple[str, ...]] = {
    "Python": ("function_definition", "class_definition"),
    "JavaScript": _SCRIPT,
    "TypeScript": _TYPED,
    "TSX": _TYPED,
    "Go": ("function_declaration", "method_declaration", "func_literal", "type_declaration"),
    "Rust": ("function_item", "impl_item", "trait_item", "struct_item", "enum_item", "mod_item"),
    "C": ("function_definition", "struct_specifier", "enum_specifier", "union_specifier"),
    "C++": (
        "function_definition",
        "class_specifier",
        "struct_specifier",
        "enum_specifier",
        "union_specifier",
        "namespace_definition",
        "lambda_expression",
    ),
    "Java": (
        "method_declaration",
        "constructor_declaration",
        "class_declaration",
        "interface_declaration",
        "enum_declaration",
        "record_declaration",
        "lambda_expression",
    ),
    "Bash": ("function_definition",),
    "PHP": (
        "function_definition",
        "method_declaration",
        "class_declaration",
        "interface_declaration",
        "trait_declaration",
        "enum_declaration",
        "anonymous_function",
    ),
    "Ruby": ("method", "singleton_method", "class", "module"),
    "C#": (
        "method_declaration",
        "constructor_declaration",
        "local_function_statement",
        "class_declaration",
        "interface_declaration",
        "struct_declaration",
        "enum_declaration",
        "record_declaration",
        "lambda_expression",
    ),
    "Kotlin": ("function_declaration", "class_declaration", "object_declaration", "lambda_literal"),
    "Swift": (
        "function_declaration",
        "init_declaration",
        "class_declaration",
        "protocol_declaration",
        "lambda_literal",
    ),
    "Lua": ("function_declaration", "function_definition"),
}
"""Node kinds of the grammars' ``node-types.json``, by `Language.name`."""


def scope(syntax: Syntax, offset: int) -> tuple[int, int] | None:
    """Return start and end of the innermost definition around an offset; None if there is none, or no tree."""
    if syntax.tree is None or syntax.language is None or not offset:
        return None
    kinds = DEFINITIONS.get(syntax.language.name, ())
    around = (node for node in parsing.nodes_around(syntax.tree, offset) if node.type in kinds)
    return next(((node.start_byte, node.end_byte) for node in around), None)

"""Lists, by language, the patterns of definitions, import statements and argument lists.

Only training and evaluation use them, to cut holes and to show definitions as related text; the server does not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outline:
    """The patterns of one language.

    ``definitions``: patterns of a tree query; a node type alone stands for a definition with a name. ``imports``: a
    regular expression of import statements, in which `^` matches the start of a line. ``arguments``: the node types of
    argument lists.
    """

    definitions: tuple[str, ...] = ()
    imports: str = ""
    arguments: tuple[str, ...] = ("argument_list",)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The query patterns of the definitions, which capture the names as `@name`."""
        return tuple(kind if " " in kind else f"{kind} name: (_) @name" for kind in self.definitions)


_SCRIPT_OUTLINE = (
    "function_declaration", "generator_function_declaration", "method_definition", "class_declaration",
    "lexical_declaration (variable_declarator name: (identifier) @name)",
    "assignment_expression left: (member_expression property: (_) @name) right: (function_expression)",
)  # fmt: skip
_TYPE_OUTLINE = (
    *_SCRIPT_OUTLINE, "abstract_class_declaration", "interface_declaration", "enum_declaration",
    "type_alias_declaration", "function_signature",
)  # fmt: skip
_C_OUTLINE = (
    "function_definition declarator: (_ declarator: (identifier) @name)",
    "function_definition declarator: (_ declarator: (_ declarator: (identifier) @name))",
    "declaration declarator: (function_declarator declarator: (identifier) @name)",
    "declaration declarator: (_ declarator: (function_declarator declarator: (identifier) @name))",
    "struct_specifier name: (_) @name body: (_)", "enum_specifier name: (_) @name body: (_)",
    "union_specifier name: (_) @name body: (_)", "type_definition declarator: (type_identifier) @name",
    "preproc_function_def", "preproc_def",
)  # fmt: skip
_SCRIPT_IMPORTS = (
    r"^(?:import|export)\b(?=[^;'\"=(]*['\"])[^;'\"=(]*['\"][^'\"\n]*['\"];?"
    r"|^(?:const|let|var)\s[^;=]*=\s*require\([^)\n]*\);?"
)
_C_IMPORTS = r"^[ \t]*#[ \t]*include[^\n]*"

OUTLINES: dict[str, Outline] = {
    "Python": Outline(
        ("function_definition", "class_definition",),
        imports=r"^[ \t]*(?:from\s+[\w.]+\s+import\s*(?:\([^)]*\)|[^\n]*)|import\s[^\n]*)",
    ),
    "JavaScript": Outline(
        _SCRIPT_OUTLINE,
        imports=_SCRIPT_IMPORTS,
        arguments=("arguments",),
    ),
    "TypeScript": Outline(
        _TYPE_OUTLINE,
        imports=_SCRIPT_IMPORTS,
        arguments=("arguments",),
    ),
    "TSX": Outline(
        _TYPE_OUTLINE,
        imports=_SCRIPT_IMPORTS,
        arguments=("arguments",),
    ),
    "Go": Outline(
        ("function_declaration", "method_declaration", "type_spec", "const_spec",),
        imports=r"^import\s*(?:\([^)]*\)|[^\n]*)",
    ),
    "Rust": Outline(
        (
            "function_item", "trait_item", "struct_item", "enum_item", "type_item", "const_item",
            "function_signature_item", "macro_definition",
        ),
        imports=r"^[ \t]*(?:pub(?:\([^)]*\))?\s+)?(?:use\s[^;]*;|mod\s+\w+;)",
        arguments=("arguments",),
    ),
    "C": Outline(
        _C_OUTLINE,
        imports=_C_IMPORTS,
    ),
    "C++": Outline(
        (
            *_C_OUTLINE, "class_specifier name: (_) @name body: (_)",
            "function_definition declarator: (function_declarator declarator: (field_identifier) @name)",
            "function_definition declarator: (function_declarator declarator: (_ name: (identifier) @name))",
            "field_declaration declarator: (function_declarator declarator: (field_identifier) @name)",
        ),
        imports=_C_IMPORTS + r"|^[ \t]*using\s[^;]*;",
    ),
    "Java": Outline(
        (
            "method_declaration", "constructor_declaration", "class_declaration", "interface_declaration",
            "enum_declaration", "record_declaration",
        ),
        imports=r"^import\s[^;]*;",
    ),
    "Bash": Outline(
        ("function_definition",),
        imports=r"^[ \t]*(?:source|\.)[ \t][^\n]*",
        arguments=(),
    ),
    "PHP": Outline(
        (
            "function_definition", "method_declaration", "class_declaration", "interface_declaration",
            "trait_declaration", "enum_declaration",
        ),
        imports=r"^[ \t]*(?:use\s[^;(]*;|(?:require|include)(?:_once)?\b[^;]*;)",
        arguments=("arguments",),
    ),
    "Ruby": Outline(
        ("method", "singleton_method", "class", "module",),
        imports=r"^[ \t]*(?:require|require_relative|include|extend)\s[^\n]*",
    ),
    "C#": Outline(
        (
            "method_declaration", "constructor_declaration", "class_declaration", "interface_declaration",
            "struct_declaration", "enum_declaration", "record_declaration",
        ),
        imports=r"^[ \t]*(?:global\s+)?using\s[^;(]*;",
    ),
    "Kotlin": Outline(
        ("function_declaration", "class_declaration", "object_declaration",),
        imports=r"^import\s[^\n]*",
        arguments=("value_arguments",),
    ),
    "Swift": Outline(
        (
            "function_declaration name: (simple_identifier) @name", "class_declaration",
            "protocol_declaration",
        ),
        imports=r"^[ \t]*(?:@\w+\s+)?import\s[^\n]*",
        arguments=("value_arguments",),
    ),
    "Lua": Outline(
        ("function_declaration",),
        imports=r"^[ \t]*(?:local\s[^=\n]*=\s*)?require\b[^\n]*",
        arguments=("arguments",),
    ),
    "CSS": Outline(
        arguments=("arguments",),
    ),
    "HTML": Outline(
        arguments=(),
    ),
}  # fmt: skip
"""By `Language.name`."""

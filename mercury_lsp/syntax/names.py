"""Resolves a name within a document: its definition, its scope and its other occurrences.

The rules are those that languages have in common: parameters belong to their function, other definitions to the scope
around them; a member, after a dot, is a different name from a bare one; the label of an argument belongs to the called
function. Other cases are not resolved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tree_sitter import Node

from mercury_lsp.syntax.definitions import DEFINITIONS
from mercury_lsp.syntax.tree import Syntax

Role = Literal["parameter", "local", "definition", "import", "member", "label", "key", "use"]
DEFINING: tuple[Role, ...] = ("parameter", "local", "definition", "import")
MAX_OCCURRENCES = 500

_MEMBER = re.compile(r"(?:(?<!\.)\.|->|\?\.|::)\s*\Z")
_ARGUMENTS = frozenset({"argument_list", "arguments", "value_arguments"})
_KEYS = frozenset({"pair", "pair_pattern", "property_signature", "keyed_element", "field_initializer"})
_SHORTHANDS = frozenset({"shorthand_property_identifier", "shorthand_property_identifier_pattern"})
_IMPORTS = re.compile(r"import|use_(?:declaration|list|clause)|namespace_use")
_PARAMETER = re.compile(r"parameter|lambda_parameters")
_NAMED = re.compile(r"declarat|definition|_item|_spec|specifier|class|method|function|alias|interface")
_COMPREHENSION = re.compile(r"comprehension|generator_expression")
_LOOP = re.compile(r"^(?:enhanced_)?for_")
_FUNCTION = re.compile(r"function|lambda|method|constructor|closure|_item\Z|init_declaration")


@dataclass(frozen=True, slots=True)
class Name:
    """An occurrence of a name."""

    start: int
    end: int
    role: Role


@dataclass(frozen=True, slots=True)
class Resolved:
    """The definition of a name: its role, and start and end of its scope."""

    role: Role
    start: int
    end: int


class Names:
    """The names of a document; none without a syntax tree."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self.text = self._text = syntax.document.text
        self.parsed = syntax.tree is not None
        # Languages in which an assignment defines a name.
        self._assigns = syntax.language is not None and syntax.language.name in ("Python", "Ruby", "Bash")
        self._named: dict[str, list[tuple[Name, Node]]] = {}

    def at(self, start: int, end: int) -> Name | None:
        """Return the name at a range; None in a string, in a comment, or without a tree."""
        node = self._leaf(start, end)
        return None if node is None else Name(start, end, self._role(node))

    def all(self, text: str) -> list[Name]:
        """Return at most `MAX_OCCURRENCES` occurrences of a name, outside of strings and comments."""
        return [name for name, _ in self._all(text)]

    def resolve(self, text: str, start: int, end: int, role: Role | None = None) -> Resolved | None:
        """Return the definition of the name `text` at a range, where another text may stand by now.

        Returns None if the name is not resolved.
        """
        node = self._leaf(start, end)
        if node is None:
            return None
        role = role or self._role(node)
        if role in DEFINING:
            return Resolved(role, *self._scope(node, role))
        if role in ("member", "key"):
            return Resolved("member", 0, len(self._text))
        if role == "use":
            found = [
                (self._scope(other, name.role), name.role)
                for name, other in self._all(text)
                if name.role in DEFINING
            ]
            around = [(scope, role) for scope, role in found if scope[0] <= start and end <= scope[1]]
            if around:
                scope, role = min(around, key=lambda one: one[0][1] - one[0][0])
                return Resolved(role, *scope)
        return None

    def uses(self, text: str, resolved: Resolved) -> list[Name]:
        """Return the occurrences of a name that refer to a definition."""
        found = self._all(text)
        if resolved.role == "member":
            return [name for name, _ in found if name.role in ("member", "definition")]
        inner = [
            scope
            for name, node in found
            if name.role in DEFINING
            and (scope := self._scope(node, name.role)) != (resolved.start, resolved.end)
            and resolved.start <= scope[0]
            and scope[1] <= resolved.end
        ]
        made = []
        for name, node in found:
            if not resolved.start <= name.start < resolved.end:
                if name.role == "label" and resolved.role == "parameter" and self._labels(node, resolved):
                    made.append(name)
                continue
            if name.role in ("member", "key"):
                continue
            if name.role == "label" and not (resolved.role == "parameter" and self._labels(node, resolved)):
                continue
            if any(low <= name.start < high for low, high in inner):
                continue
            made.append(name)
        return made

    def _labels(self, node: Node, resolved: Resolved) -> bool:
        """Return whether a label is in a call of the function to which the parameter `resolved` belongs."""
        # There is a node, and so a tree.
        assert self._syntax.tree is not None
        whole = self._syntax.tree.root_node.descendant_for_byte_range(resolved.start, resolved.end)
        named = None if whole is None else _child_node(whole)
        function = "" if named is None else self._text[named.start_byte : named.end_byte]
        call: Node | None = node
        while call is not None and call.type not in _ARGUMENTS:
            call = call.parent
        if call is None or not function:
            return False
        called = re.search(r"(\w+)\s*\Z", self._text[max(0, call.start_byte - 100) : call.start_byte])
        return called is not None and called.group(1) == function

    def _all(self, text: str) -> list[tuple[Name, Node]]:
        if text not in self._named:
            found: list[tuple[Name, Node]] = []
            for match in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", self._text):
                if len(found) == MAX_OCCURRENCES:
                    break
                if (node := self._leaf(match.start(), match.end())) is not None:
                    found.append((Name(match.start(), match.end(), self._role(node)), node))
            self._named[text] = found
        return self._named[text]

    def _leaf(self, start: int, end: int) -> Node | None:
        """Return the node of exactly this range, if it is a name."""
        tree, language = self._syntax.tree, self._syntax.language
        if tree is None or language is None:
            return None
        node = tree.root_node.descendant_for_byte_range(start, end)
        if node is None or (node.start_byte, node.end_byte) != (start, end) or not node.is_named:
            return None
        if node.child_count or node.type in language.strings or node.type in language.comments:
            return None
        return None if "content" in node.type or "fragment" in node.type or "escape" in node.type else node

    def _role(self, node: Node) -> Role:
        """Return the role of a name at its place."""
        if node.type in _SHORTHANDS:
            return "key"
        before = self._text[max(0, node.start_byte - 20) : node.start_byte]
        if _MEMBER.search(before):
            return "member"
        parent = node.parent
        if parent is None:
            return "use"
        if parent.type in _KEYS and parent.child(0) == node:
            return "key"
        if parent.type == "keyword_argument" and parent.child(0) == node:
            return "label"
        return self._defining(node) or "use"

    def _defining(self, node: Node) -> Role | None:
        """Return the role of a name in its definition; None for a use."""
        child, parent, steps = node, node.parent, 0
        while parent is not None and steps < 6:
            field = _field(parent, child)
            kind = parent.type
            if field in (
                "type",
                "value",
                "default",
                "default_value",
                "right",
                "body",
                "return_type",
                "superclasses",
            ):
                return None
            if _IMPORTS.search(kind):
                return "import"
            if kind in _ARGUMENTS or kind.endswith(("call", "call_expression")):
                return None
            if _PARAMETER.search(kind) and "type_parameter" not in kind:
                return "parameter" if field != "type" else None
            if kind in ("arrow_function", "lambda") and field in ("parameter", "parameters"):
                return "parameter"
            if field in ("name", "declarator") and _NAMED.search(kind):
                return "definition" if _FUNCTION.search(kind) or "class" in kind else "local"
            if (
                self._assigns
                and field == "left"
                and kind in ("assignment", "for_statement", "for_in_clause", "named_expression")
            ):
                return "local"
            if field in ("left", "name", "pattern", "alias") and kind in (
                "for_in_statement", "short_var_declaration", "let_declaration", "range_clause", "as_pattern",
                "for_expression", "named_expression", "enhanced_for_statement",
            ):  # fmt: skip
                return "local"
            if kind == "as_pattern_target":
                return "local"
            if not kind.endswith(
                ("pattern", "dotted_name", "list", "tuple", "declarator", "expression_list", "identifier")
            ):
                return None
            child, parent, steps = parent, parent.parent, steps + 1
        return None

    def _is_own_scope(self, kind: str) -> bool:
        """Return whether names defined in the head of a node are visible only in that node."""
        return bool(_COMPREHENSION.search(kind) or (not self._assigns and _LOOP.search(kind)))

    def defined(self, text: str, resolved: Resolved) -> bool:
        """Return whether a name has a definition in the scope of another definition, but not in a narrower scope."""
        for name, node in self._all(text):
            if not resolved.start <= name.start < resolved.end:
                continue
            if resolved.role == "member":
                if name.role in DEFINING or self.is_assigned(name):
                    return True
            elif name.role in DEFINING:
                low, high = self._scope(node, name.role)
                if low <= resolved.start and resolved.end <= high:
                    return True
        return False

    def is_assigned(self, name: Name) -> bool:
        """Return whether a value is assigned to a member at its place."""
        return bool(re.match(r"\s*(?::[^=\n]*)?=(?!=)", self._text[name.end : name.end + 80]))

    def _scope(self, node: Node, role: Role) -> tuple[int, int]:
        """Return the scope of a definition."""
        language = self._syntax.language
        kinds = DEFINITIONS.get(language.name, ()) if language else ()
        blocks = () if self._assigns or language is None else language.bodies
        for around in _parents(node):
            if role == "local" and (around.type in blocks or self._is_own_scope(around.type)):
                return around.start_byte, around.end_byte
            if around.type not in kinds and around.type not in ("lambda", "closure_expression"):
                continue
            if role == "parameter":
                return around.start_byte, around.end_byte
            if _child_node(around) == node or _class(around):
                # The definition is not the scope of its own name, and a class not that of its methods' names.
                continue
            return around.start_byte, around.end_byte
        return 0, len(self._text)


def _parents(node: Node) -> Iterator[Node]:
    around = node.parent
    while around is not None:
        yield around
        around = around.parent


def _class(node: Node) -> bool:
    return _FUNCTION.search(node.type) is None


def _field(parent: Node, child: Node) -> str | None:
    for number in range(parent.child_count):
        if parent.child(number) == child:
            return parent.field_name_for_child(number)
    return None


def _child_node(node: Node) -> Node | None:
    """Return the node of the name in a definition."""
    found = node.child_by_field_name("name") or node.child_by_field_name("declarator")
    while (
        found is not None
        and found.child_count
        and (inner := found.child_by_field_name("declarator")) is not None
    ):
        found = inner
    return found

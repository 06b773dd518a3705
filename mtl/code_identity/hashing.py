"""Hashes definitions, each by its syntax and the hashes of everything that it uses, independent of module names."""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from mtl.code_identity.modules import NOTHING, Modules, Target, library_versions
from mtl.code_identity.normalising import Piece, Reference


class Part(NamedTuple):
    """The syntax of one piece of code and what it uses.

    Args:
        name: Qualified name for display; empty if the part is not displayed.
        own: Hash of everything except the targets.
        uses: The targets of each reference, each with a hash of how it is used.
    """

    name: str
    own: str
    uses: tuple[frozenset[tuple[str, Target]], ...] = ()

    def digest(self, value: Callable[[Target], str]) -> str:
        """A hash in which each target is represented by its value."""
        return digest(self.own, *(digest(*sorted(way + value(target) for way, target in use)) for use in self.uses))


Node = tuple[Part, ...]
"""The parts of a target."""


def digest(*texts: str) -> str:
    """A hash of a sequence of texts; `("ab", "c")` and `("a", "bc")` differ."""
    whole = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.sha256(whole.encode("utf-8", "backslashreplace")).hexdigest()


def closure(targets: Iterable[Target], modules: Modules) -> dict[Target, Node]:
    """The targets and everything they use, directly or not."""
    graph: dict[Target, Node] = {}
    waiting = list(targets)
    while waiting:
        target = waiting.pop()
        if target not in graph:
            graph[target] = _node(target, modules)
            waiting += _neighbours(graph[target])
    return graph


def hashes(graph: Mapping[Target, Node]) -> dict[Target, str]:
    """The hash of each target of a closure.

    Definitions that use each other are hashed together. Each round covers one more step of use, so after as many rounds
    as there are definitions in the cycle, each hash covers the whole cycle.
    """
    found: dict[Target, str] = {}
    for component in components(graph):
        values = dict.fromkeys(component, "")
        for _ in component:
            value = ChainMap(values, found).__getitem__
            values = {target: digest(*(part.digest(value) for part in graph[target])) for target in component}
        found |= values
    return found


def components(graph: Mapping[Target, Node]) -> Iterator[list[Target]]:
    """The strongly connected components, each after those that it uses (Tarjan 1972)."""
    numbers: dict[Target, int] = {}
    lowest: dict[Target, int] = {}
    unassigned: dict[Target, None] = {}
    for start in graph:
        path = [] if start in numbers else [(start, _neighbours(graph[start]))]
        while path:
            target, others = path[-1]
            if target not in numbers:
                numbers[target] = lowest[target] = len(numbers)
                unassigned[target] = None
            for other in others:
                if other not in numbers:
                    path.append((other, _neighbours(graph[other])))
                    break
                if other in unassigned:
                    lowest[target] = min(lowest[target], numbers[other])
            else:
                path.pop()
                if path:
                    user, _ = path[-1]
                    lowest[user] = min(lowest[user], lowest[target])
                if lowest[target] == numbers[target]:
                    component = []
                    while target in unassigned:  # the last item was reached last
                        component.append(unassigned.popitem()[0])
                    yield component


def _neighbours(node: Node) -> Iterator[Target]:
    return (target for part in node for use in part.uses for _, target in use)


# --- nodes ------------------------------------------------------------------------------------------------------------


def _node(target: Target, modules: Modules) -> Node:
    match target.kind:
        case "definition" | "statements":
            return _code(target, modules)
        case "module":
            return (Part("", "module", (_members(target.module, modules),)),)
        case "library":
            versions = library_versions(target.module)
            return (Part("", digest("library", target.name, *versions, *versions.values())),)
    return (Part("", digest(target.kind, target.name)),)


def _code(target: Target, modules: Modules) -> Node:
    module = modules.get(target.module)
    assert module is not None, "only a module with source has definitions"
    is_definition = target.kind == "definition"
    pieces = module.syntax.definitions[target.name] if is_definition else module.syntax.statements
    parts = tuple(
        Part(
            ".".join(filter(None, [target.module, piece.name])),
            digest(piece.name, piece.syntax),
            (
                *(_use(target.module, reference, modules) for reference in piece.references),
                _field_types(target.module, piece, modules),
            ),
        )
        for piece in pieces
    )
    side_effects = frozenset(("", statements) for statements in modules.side_effects(target.module))
    return (*parts, Part("", "side effects", (side_effects,))) if side_effects else parts


def _use(module: str, reference: Reference, modules: Modules) -> frozenset[tuple[str, Target]]:
    uses = modules.resolve(module, reference)
    return frozenset(
        ("" if use.target == NOTHING else digest(".".join(use.attributes), *reference.texts), use.target)
        for use in uses
    )


def _field_types(module: str, piece: Piece, modules: Modules) -> frozenset[tuple[str, Target]]:
    """The types of a class's fields that are defined in our code."""
    uses = (use for reference in piece.field_types for use in modules.resolve(module, reference))
    return frozenset(("", use.target) for use in uses if use.target.kind in ("definition", "module", "statements"))


def _members(module: str, modules: Modules) -> frozenset[tuple[str, Target]]:
    members = {
        (digest(name, *use.attributes), use.target)
        for name, uses in modules.members(module).items()
        for use in uses
        if use.target != NOTHING
    }
    return frozenset(members | {("", statements) for statements in modules.side_effects(module)})

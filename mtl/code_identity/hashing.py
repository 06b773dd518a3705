"""The hash of a definition: of its syntax and of the hashes of all that it uses, whatever the modules are called."""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from mtl.code_identity.modules import NOTHING, Modules, Target, library_versions
from mtl.code_identity.syntax import Reference


class Part(NamedTuple):
    """What one piece of syntax says and uses.

    Args:
        name: As in `Piece`; empty where people need not see the part by itself.
        own: What counts besides what it uses.
        uses: For each reference the targets, each with the way in which it is used.
    """

    name: str
    own: str
    uses: tuple[frozenset[tuple[str, Target]], ...] = ()

    def digest(self, value: Callable[[Target], str]) -> str:
        """A hash, where each target counts by its value."""
        return digest(self.own, *(digest(*sorted(way + value(target) for way, target in use)) for use in self.uses))


Node = tuple[Part, ...]
"""The parts of a target."""


def digest(*texts: str) -> str:
    """A hash of some texts, which tells where one ends and the next begins."""
    whole = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.sha256(whole.encode("utf-8", "backslashreplace")).hexdigest()


def closure(targets: Iterable[Target], modules: Modules) -> dict[Target, Node]:
    """Some targets and all that they use."""
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

    Definitions that use each other in a cycle are hashed together. Each round takes in what is one step further away,
    so after as many rounds as there are definitions in the cycle, all of it counts for each of them.
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
    """The strongly connected components, each after all others that it uses (Tarjan 1972)."""
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
    assert module is not None, "only a module that was read has definitions"
    is_definition = target.kind == "definition"
    pieces = module.syntax.definitions[target.name] if is_definition else module.syntax.statements
    parts = tuple(
        Part(
            ".".join(filter(None, [target.module, piece.name])),
            digest(piece.name, piece.syntax),
            tuple(_use(target.module, reference, modules) for reference in piece.references),
        )
        for piece in pieces
    )
    acting = frozenset(("", statements) for statements in modules.acting_on_import(target.module))
    return (*parts, Part("", "acting on import", (acting,))) if acting else parts


def _use(module: str, reference: Reference, modules: Modules) -> frozenset[tuple[str, Target]]:
    uses = modules.resolve(module, reference)
    return frozenset(
        ("" if use.target == NOTHING else digest(".".join(use.attributes), *reference.texts), use.target)
        for use in uses
    )


def _members(module: str, modules: Modules) -> frozenset[tuple[str, Target]]:
    members = {
        (digest(name, *use.attributes), use.target)
        for name, uses in modules.members(module).items()
        for use in uses
        if use.target != NOTHING
    }
    return frozenset(members | {("", statements) for statements in modules.acting_on_import(module)})

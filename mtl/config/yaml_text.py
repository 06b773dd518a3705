"""From the text of a YAML file or an override to plain values, with limits, so that no text exhausts time or memory."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_CHARACTERS = 64 << 20
MAX_NODES = 1_000_000
"""Maximum number of keys and values; what an alias refers to counts each time."""
MAX_DEPTH = 100
MAX_NUMBER = 100
"""Maximum length of a number; Python refuses to convert integers of more than 4,300 digits."""

# The loader in C is ten times as fast, but PyYAML does not always come with it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_STRING = "tag:yaml.org,2002:str"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_MERGE = "tag:yaml.org,2002:merge"
_UNSUPPORTED = {f"tag:yaml.org,2002:{name}" for name in ("set", "omap", "pairs", "timestamp")}

# YAML 1.1 as PyYAML reads it needs a dot and a sign in 1.0e-4; without this, 1e-4 would be a string.
_FLOAT = re.compile(r"^[-+]?[0-9]+(?:_[0-9]+)*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)$")


class Loader(_Base):  # type: ignore[misc]
    """Loads files and the values of overrides.

    1e-4 is a number, a date is a string, and a key that is written twice is an error.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._merged: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Puts the keys of `<<` before those of the mapping itself, which take precedence."""
        if node in self._merged:
            return
        self._merged.add(node)
        own = [(key, value) for key, value in node.value if key.tag != _MERGE]
        names: set[str] = set()
        for key, _ in own:
            if key.tag == _STRING and key.value in names:
                problem = f"found duplicate key {key.value}"
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, problem, key.start_mark
                )
            names |= {key.value} if key.tag == _STRING else set()
        super().flatten_mapping(node)
        merged = node.value[: len(node.value) - len(own)]
        node.value = [(key, value) for key, value in merged if key.tag != _STRING or key.value not in names] + own

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node, whose keys are strings, numbers or booleans."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if not all(isinstance(key, str | int | float) for key in mapping):
            raise yaml.constructor.ConstructorError(
                "while constructing a mapping", node.start_mark, "a key must be a string or a number", node.start_mark
            )
        return mapping


def _number(loader: Any, node: yaml.ScalarNode) -> Any:
    if len(node.value) > MAX_NUMBER:
        problem = f"a number must have at most {MAX_NUMBER} characters, got {len(node.value)}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    is_integer = node.tag == _NUMBERS[0]
    return loader.construct_yaml_int(node) if is_integer else loader.construct_yaml_float(node)


for _tag in _NUMBERS:
    Loader.add_constructor(_tag, _number)
Loader.add_implicit_resolver(_NUMBERS[1], _FLOAT, list("-+0123456789"))
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _UNSUPPORTED]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}
Loader.yaml_constructors = {
    tag: constructor for tag, constructor in Loader.yaml_constructors.items() if tag not in _UNSUPPORTED
}


def load_yaml(text: str) -> Any:
    """The value of a YAML document.

    Args:
        text: The document.

    Raises:
        yaml.YAMLError: The document is not valid YAML, or exceeds a limit; nearly always with a mark.

    >>> load_yaml("rate: 1e-4")
    {'rate': 0.0001}
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it must have at most {MAX_CHARACTERS:,} characters, got {len(text):,}")
    try:
        _check_size(text)
        return yaml.load(text, Loader=Loader)  # noqa: S506  # a safe one
    except yaml.YAMLError:
        raise
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:  # for example !!int of a word
        raise yaml.YAMLError(f"a value cannot be read as its tag says ({type(error).__name__})") from None


def _check_size(text: str) -> None:
    """Counts nodes and levels before anything is built, because the loader in C has no limit of recursion."""
    sizes: list[int] = [0]
    anchors: list[str | None] = []
    known: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            if event.anchor:
                known.pop(event.anchor, None)  # it is known again at the end: an alias in itself has no size
            anchors.append(event.anchor)
            sizes.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), anchors.pop()
            sizes[-1] += size
            if anchor:
                known[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += 1
            if event.anchor:
                known[event.anchor] = 1
            _check_unicode(event)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise _exceeds("an alias must not refer to a value that contains it", event)
            sizes[-1] += known.get(str(event.anchor), 1)  # unknown ones are reported by the loader
        if len(anchors) > MAX_DEPTH:
            raise _exceeds(f"values must be nested at most {MAX_DEPTH} deep", event)
        if sum(sizes) > MAX_NODES:
            raise _exceeds(f"there must be at most {MAX_NODES:,} keys and values, aliases expanded", event)


def _check_unicode(event: yaml.ScalarEvent) -> None:
    try:
        event.value.encode()
    except UnicodeEncodeError:
        raise _exceeds("text must be valid Unicode, got half a surrogate pair", event) from None


def _exceeds(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)

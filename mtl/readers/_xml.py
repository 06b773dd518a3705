"""XML documents with limits, so that no document can exhaust time or memory."""

from __future__ import annotations

from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

MAX_CHARACTERS = 64 << 20
MAX_ITEMS = 1_000_000
MAX_DEPTH = 50


class XmlError(ValueError):
    """A document is not well-formed, or exceeds a limit.

    Args:
        line: Line of the problem, from 1.
        rule: The rule that the document breaks.
        found: What was found instead.
    """

    def __init__(self, line: int, rule: str, found: str) -> None:
        super().__init__(f"{rule}, got {found}")
        self.line = line
        self.rule = rule
        self.found = found


def parse_xml(text: str, tag: str = "") -> tuple[ElementTree.Element, list[tuple[int, ElementTree.Element]]]:
    r"""The root of a document, and the elements with a tag together with their lines.

    A document may have at most 64 million characters, 1,000,000 elements and attributes, and a depth of 50. It must not
    declare entities or default attributes, which could expand a small document to any size.

    Raises:
        XmlError: The document is not well-formed, or exceeds a limit.

    >>> [(line, pair.text) for line, pair in parse_xml("<all>\n<pair>x</pair>\n</all>", "pair")[1]]
    [(2, 'x')]
    """
    if len(text) > MAX_CHARACTERS:
        raise XmlError(1, f"must have at most {MAX_CHARACTERS:,} characters", f"{len(text):,}")
    parser = _TreeParser(tag)
    try:
        return parser.root(text), parser.found
    except expat.ExpatError as error:
        raise XmlError(error.lineno, "must be well-formed XML", expat.ErrorString(error.code)) from None


class _TreeParser:
    """Builds the tree, because ElementTree's own parser has no line numbers and no limits."""

    def __init__(self, tag: str) -> None:
        self.found: list[tuple[int, ElementTree.Element]] = []
        self._tag = tag
        self._builder = ElementTree.TreeBuilder()
        self._depth = self._items = 0
        self._expat = expat.ParserCreate()
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._builder.data
        self._expat.StartDoctypeDeclHandler = self._doctype

    def root(self, text: str) -> ElementTree.Element:
        try:
            self._expat.Parse(text, True)
        finally:
            del (
                self._expat
            )  # whose handlers refer to this object: the tree would stay in memory until the next collection
        return self._builder.close()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._items += 1 + len(attributes)
        if self._depth > MAX_DEPTH:
            self._refuse(f"elements must be nested at most {MAX_DEPTH} deep", "more")
        if self._items > MAX_ITEMS:
            self._refuse(f"must have at most {MAX_ITEMS:,} elements and attributes", "more")
        element = self._builder.start(name, attributes)
        if name == self._tag:
            self.found.append((self._expat.CurrentLineNumber, element))

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(name)

    def _doctype(self, name: str, system_id: str | None, public_id: str | None, has_declarations: int) -> None:
        if has_declarations:
            self._refuse("the document type must have no declarations of its own", "some")

    def _refuse(self, rule: str, found: str) -> NoReturn:
        raise XmlError(self._expat.CurrentLineNumber, rule, found)

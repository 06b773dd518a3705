from __future__ import annotations

import pytest

from mtl.readers._xml import MAX_CHARACTERS, MAX_DEPTH, MAX_ITEMS, XmlError, parse_xml


def line_of(text: str) -> int:
    with pytest.raises(XmlError) as caught:
        parse_xml(text)
    return caught.value.line


def test_elements_are_found_with_their_lines() -> None:
    root, found = parse_xml('<a x="1">\n<b/>\n<c><b>t</b></c>\n</a>', "b")
    assert (root.tag, root.get("x")) == ("a", "1")
    assert [(line, element.text) for line, element in found] == [(2, None), (3, "t")]


@pytest.mark.parametrize(
    "declaration",
    [
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ATTLIST x text CDATA "aaaaaaaaaa">',
    ],
)
def test_declarations_are_refused(declaration: str) -> None:
    assert line_of(f"\n<!DOCTYPE x [{declaration}]>\n<x/>") == 2


def test_a_document_type_without_declarations_is_allowed() -> None:
    assert parse_xml('<!DOCTYPE x SYSTEM "x.dtd">\n<x/>')[0].tag == "x"


def test_depth_is_limited() -> None:
    assert parse_xml("<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH)[0].tag == "a"
    assert line_of("\n" + "<a>" * (MAX_DEPTH + 1)) == 2
    assert line_of("<a>" * 100_000) == 1


def test_numbers_of_elements_attributes_and_characters_are_limited() -> None:
    assert line_of("<a>" + "<b/>" * MAX_ITEMS) == 1
    assert line_of("<a>" + '<b c=""/>' * (MAX_ITEMS // 2)) == 1
    assert line_of(" " * (MAX_CHARACTERS + 1)) == 1


def test_text_that_is_not_well_formed_is_an_error_with_the_line() -> None:
    assert line_of("<a>\n<b></a>") == 2
    assert line_of("<a>&#xD800;</a>") == 1

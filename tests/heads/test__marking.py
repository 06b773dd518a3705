"""The text of a candidate pair and the positions of its head and tail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._marking import Marked, markers, original, placeholder, ready_made, typed
from heads._pairs import Mention

COX = "COX-2 is inhibited by aspirin"
GENE, DRUG = ((0, 5),), ((22, 29),)


def find(text: str, *parts: str) -> Mention:
    """A mention given by the text of its parts."""
    starts = [text.index(part) for part in parts]
    return tuple((start, start + len(part)) for start, part in zip(starts, parts, strict=True))


def shown(marked: Marked) -> tuple[list[str], list[str]]:
    """The text at the positions of head and tail."""
    heads, tails = ([marked.text[place.start : place.end] for place in end] for end in (marked.head, marked.tail))
    return heads, tails


# --- typed ------------------------------------------------------------------------------------------------------------


def test_a_placeholder_replaces_its_own_entity() -> None:
    marked = typed(COX, [DRUG], [GENE], "Chemical", "Gene")
    assert marked.text == "@GENE$ is inhibited by @CHEMICAL$"
    assert shown(marked) == (["@CHEMICAL$"], ["@GENE$"])


def test_the_order_of_the_arguments_does_not_change_the_text() -> None:
    assert typed(COX, [DRUG], [GENE], "Chemical", "Gene").text == typed(COX, [GENE], [DRUG], "Gene", "Chemical").text


def test_only_the_two_mentions_are_replaced() -> None:
    text = "aspirin, warfarin and heparin interact"
    marked = typed(text, [find(text, "aspirin")], [find(text, "heparin")], "drug", "drug")
    assert marked.text == "@DRUG$, warfarin and @DRUG$ interact"


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ("beta blocker", "blocker", "A @CLASS-DRUG$ was given"),
        ("blocker", "beta blocker", "A @CLASS-DRUG$ was given"),
        ("beta blocker", "beta blocker", "A @CLASS-DRUG$ was given"),
        ("A beta", "beta blocker", "@CLASS-DRUG$ was given"),
    ],
)
def test_overlapping_mentions_share_one_placeholder(head: str, tail: str, expected: str) -> None:
    text = "A beta blocker was given"
    marked = typed(text, [find(text, head)], [find(text, tail)], "class", "drug")
    assert marked.text == expected
    assert shown(marked) == (["@CLASS-DRUG$"], ["@CLASS-DRUG$"])


def test_adjacent_mentions_have_their_own_placeholders() -> None:
    assert typed("aspirinwarfarin", [((0, 7),)], [((7, 15),)], "a", "b").text == "@A$@B$"


def test_a_discontinuous_mention_is_replaced_together_with_its_gap() -> None:
    text = "left and right lung tumours after smoking"
    marked = typed(text, [find(text, "left", "lung tumours")], [find(text, "smoking")], "disease", "habit")
    assert marked.text == "@DISEASE$ after @HABIT$"


def test_a_mention_in_the_gap_of_the_other_is_kept() -> None:
    text = "left (after smoking) lung tumours"
    marked = typed(text, [find(text, "left", " lung tumours")], [find(text, "smoking")], "disease", "habit")
    assert marked.text == "@DISEASE$ (after @HABIT$)"
    assert shown(marked) == (["@DISEASE$"], ["@HABIT$"])


def test_interleaved_mentions_have_their_own_placeholders() -> None:
    text = "oral and nasal ulcers and polyps"
    marked = typed(text, [find(text, "oral", "ulcers")], [find(text, "nasal", "polyps")], "x", "y")
    assert marked.text.split() == ["@X$", "and", "@Y$", "and"]


def test_mentions_that_share_a_part_share_one_placeholder() -> None:
    text = "hepatic and renal failure in mice"
    marked = typed(text, [find(text, "hepatic", "failure")], [find(text, "renal failure")], "x", "y")
    assert marked.text == "@X-Y$ in mice"


def test_all_mentions_of_a_concept_are_replaced() -> None:
    text = "Naloxone (Nx): naloxone reversed clonidine"
    head = [find(text, "Naloxone"), find(text, "Nx"), find(text, "naloxone")]
    marked = typed(text, head, [find(text, "clonidine")], "Chemical", "Disease")
    assert marked.text == "@CHEMICAL$ (@CHEMICAL$): @CHEMICAL$ reversed @DISEASE$"
    assert shown(marked) == (["@CHEMICAL$"] * 3, ["@DISEASE$"])


def test_nested_mentions_of_one_concept_share_a_placeholder() -> None:
    text = "breast cancer in mice"
    marked = typed(text, [find(text, "breast cancer"), find(text, "cancer")], [find(text, "mice")], "d", "s")
    assert marked.text == "@D$ in @S$"


def test_a_placeholder_is_upper_case() -> None:
    assert (placeholder("drug_n"), placeholder("drug", "brand")) == ("@DRUG_N$", "@DRUG-BRAND$")


# --- markers ----------------------------------------------------------------------------------------------------------


def test_markers_show_the_direction() -> None:
    assert markers(COX, [DRUG], [GENE]).text == "[E2] COX-2 [/E2] is inhibited by [E1] aspirin [/E1]"
    assert markers(COX, [GENE], [DRUG]).text == "[E1] COX-2 [/E1] is inhibited by [E2] aspirin [/E2]"


def test_the_position_of_a_marked_mention_includes_its_marker() -> None:
    marked = markers(COX, [DRUG], [GENE])
    assert shown(marked) == (["aspirin"], ["COX-2"])
    assert marked.text[marked.head[0].opening :].startswith("[E1] aspirin")
    assert marked.tail[0].opening == 0


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ("beta blocker", "blocker", "A [E1] beta [E2] blocker [/E2] [/E1] was"),
        ("beta", "beta blocker", "A [E2] [E1] beta [/E1] blocker [/E2] was"),
        ("blocker", "blocker", "A beta [E1] [E2] blocker [/E2] [/E1] was"),
        ("A beta", "beta blocker", "[E1] A [E2] beta [/E1] blocker [/E2] was"),
    ],
)
def test_markers_of_overlapping_mentions_nest(head: str, tail: str, expected: str) -> None:
    text = "A beta blocker was"
    assert markers(text, [find(text, head)], [find(text, tail)]).text == expected


def test_markers_of_adjacent_mentions_close_before_they_open() -> None:
    assert markers("ab", [((1, 2),)], [((0, 1),)]).text == "[E2] a [/E2][E1] b [/E1]"


def test_a_discontinuous_mention_is_marked_from_its_first_to_its_last_part() -> None:
    text = "left and right lung tumours after smoking"
    marked = markers(text, [find(text, "left", "lung tumours")], [find(text, "smoking")])
    assert shown(marked)[0] == ["left and right lung tumours"]


# --- original and ready-made ------------------------------------------------------------------------------------------


def test_original_leaves_the_text_unchanged_and_has_a_position_for_every_part() -> None:
    text = "hepatic and renal failure in mice"
    marked = original(text, [find(text, "hepatic", "failure")], [find(text, "mice")])
    assert marked.text == text
    assert shown(marked) == (["hepatic", "failure"], ["mice"])


def test_the_head_of_a_sentence_with_placeholders_is_the_one_named_first() -> None:
    text = "@DISEASE$ is linked to @GENE$ and TP53"
    assert shown(ready_made(text, ["@GENE$", "@DISEASE$"])) == (["@GENE$"], ["@DISEASE$"])
    assert shown(ready_made(text, ["@DISEASE$", "@GENE$"])) == (["@DISEASE$"], ["@GENE$"])


def test_equal_placeholders_are_ordered_as_in_the_text() -> None:
    marked = ready_made("@DRUG$ and @DRUG$", ["@DRUG$", "@DRUG-DRUG$"])
    assert (marked.head[0].start, marked.tail[0].start) == (0, 11)


def test_a_single_placeholder_is_both_head_and_tail_and_there_may_be_none() -> None:
    names = ["@DRUG$", "@DRUG-DRUG$"]
    assert shown(ready_made("take @DRUG-DRUG$ now", names)) == (["@DRUG-DRUG$"], ["@DRUG-DRUG$"])
    assert ready_made("take it now", names) == Marked("take it now", (), ())
    assert ready_made("take @DRUG$ now", []) == Marked("take @DRUG$ now", (), ())


# --- any mentions -----------------------------------------------------------------------------------------------------

PART = st.integers(0, 18).flatmap(lambda start: st.tuples(st.just(start), st.integers(start + 1, 20)))
MENTION = st.lists(PART, min_size=1, max_size=3).map(
    lambda parts: tuple(
        part for i, part in enumerate(sorted(parts)) if i == 0 or part[0] > max(p[1] for p in sorted(parts)[:i])
    )
)
MENTIONS = st.lists(MENTION, min_size=1, max_size=3)
LETTERS = "abcdefghijklmnopqrst"


@given(MENTIONS, MENTIONS)
def test_the_typed_text_has_both_placeholders_and_the_rest_of_the_text_in_order(
    head: list[Mention], tail: list[Mention]
) -> None:
    marked = typed(LETTERS, head, tail, "H", "T")
    assert set(shown(marked)[0]) <= {"@H$", "@H-T$"}
    assert set(shown(marked)[1]) <= {"@T$", "@H-T$"}
    assert marked.head
    assert marked.tail
    left = [c for c in marked.text if c.islower()]
    covered = {i for mention in [*head, *tail] for start, end in mention for i in range(start, end)}
    assert left == sorted(left)
    assert not {LETTERS[i] for i in covered} & set(left)
    assert marked.text.count("@H$") + marked.text.count("@H-T$") == len(marked.head)


@given(MENTIONS, MENTIONS)
def test_without_its_markers_a_marked_text_is_the_original(head: list[Mention], tail: list[Mention]) -> None:
    marked = markers(LETTERS, head, tail)
    plain = marked.text
    for mark in ("[E1] ", " [/E1]", "[E2] ", " [/E2]"):
        assert plain.count(mark) == len(marked.head if "1" in mark else marked.tail)
        plain = plain.replace(mark, "")
    assert plain == LETTERS
    for number, places in ((1, marked.head), (2, marked.tail)):
        for place in places:
            assert marked.text[place.opening : place.start] == f"[E{number}] "
            assert marked.text[place.end :].startswith(f" [/E{number}]")

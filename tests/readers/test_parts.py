from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.rows import Entity, Relation, SpanRow
from mtl.config.components import choices, find
from mtl.problems import InputError
from mtl.readers import Reader
from mtl.readers._parts import KEPT, OUTER, OVERLAPPING, SPLIT, Discontinuous, num_overlapping, with_parts

TEXT = "left and right lung pain"
PARTS = Entity("T1", "Site", ((0, 4), (15, 19)), ("C1",), {"side": "left"})
WHOLE = Entity("T2", "Site", ((9, 19),))
ROW = SpanRow("1", "d", TEXT, entities=(PARTS, WHOLE), relations=(Relation("T1", "T2", "same"),))

spans = st.tuples(st.integers(0, 12), st.integers(1, 4)).map(lambda pair: (pair[0], pair[0] + pair[1]))
entities = st.lists(st.lists(spans, min_size=1, max_size=3).map(lambda own: tuple(sorted(own))), max_size=5).map(
    lambda found: tuple(Entity(f"T{number}", "X", own) for number, own in enumerate(found))
)


class Rows(Reader):
    """The rows it is given."""

    given: tuple[SpanRow, ...] = (ROW, SpanRow("2", "d", TEXT, entities=(WHOLE,)))

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        yield from self.given


def read(tmp_path: Path, rule: Discontinuous, **options: Any) -> tuple[list[Any], Rows]:
    file = tmp_path / "a"
    file.touch()
    reader = Rows(str(file), **options)
    reader.discontinuous = rule
    return list(reader.read("train")), reader


@given(entities)
def test_overlapping_mentions_are_those_that_share_a_character_with_another(found: tuple[Entity, ...]) -> None:
    characters = [Counter(place for start, end in entity.spans for place in range(start, end)) for entity in found]
    for own in characters:
        if max(own.values()) > 1:  # parts of one mention that overlap each other count too
            return
    total = sum(characters, Counter())
    assert num_overlapping(found) == sum(any(total[place] > 1 for place in own) for own in characters)


def test_mentions_are_kept_in_parts_by_default_and_counted(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, Rows.discontinuous)
    assert rows == list(Rows.given)
    assert (reader.noted, reader.adjusted) == ({KEPT: 1, OVERLAPPING: 2}, {})


def test_outer_makes_one_part_of_all(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, "outer")
    assert rows[0].entities == (PARTS._replace(spans=((0, 19),)), WHOLE)
    assert rows[0].relations == ROW.relations
    assert (reader.noted, reader.adjusted) == ({OVERLAPPING: 2}, {OUTER: 1})


def test_split_makes_a_mention_of_each_part_and_the_first_keeps_the_relations(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, "split")
    first, second = PARTS._replace(spans=((0, 4),)), PARTS._replace(id="T1.2", spans=((15, 19),))
    assert rows[0].entities == (first, second, WHOLE)
    assert rows[0].relations == ROW.relations
    assert (reader.noted, reader.adjusted) == ({OVERLAPPING: 2}, {SPLIT: 1})


def test_refuse_makes_the_row_a_bad_row(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, "refuse", on_bad_row="skip")
    assert [row.id for row in rows] == ["2"]
    assert len(reader.bad_rows) == 1
    with pytest.raises(InputError):
        read(tmp_path, "refuse")


@given(entities, st.sampled_from(["outer", "split"]))
def test_no_mention_has_parts_or_shares_its_id_afterwards(found: tuple[Entity, ...], rule: Any) -> None:
    named = (*found, Entity("T0.2", "X", ((0, 1),)))
    row, changed, _ = with_parts(SpanRow("1", "d", "a" * 20, entities=named), rule)
    assert all(len(entity.spans) == 1 for entity in row.entities)
    assert len({entity.id for entity in row.entities}) == len(row.entities)
    assert changed.total() == sum(len(entity.spans) > 1 for entity in named)


@pytest.mark.parametrize("name", choices("reader"))
def test_a_reader_with_the_option_hands_it_on(name: str) -> None:
    reader: type[Reader] = find("reader", name, "reader")
    if "discontinuous" in reader.__init__.__annotations__:
        assert reader("anywhere", discontinuous="split").discontinuous == "split"  # type: ignore[call-arg]
    else:
        assert name in READERS_WITHOUT_PARTS


READERS_WITHOUT_PARTS = {
    *("bioasq", "clinicalsts", "hoc", "hub", "mednli", "pubmedqa", "rqe", "table", "text"),  # no mentions
    *("chemdner", "chemprot", "conll", "ebm_nlp", "i2b2_2010", "marked", "pubtator"),  # one start and one end for each
}

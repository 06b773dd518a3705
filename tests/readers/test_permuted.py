from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heads.relation import RelationClassification
from heads.rows import Entity, Relation, Row, SpanRow, TextRow, row_to_dict
from heads.token_classification import TokenClassification
from mtl.config.mixture import DataSpec
from mtl.data.reading import RowSummary, read_rows
from mtl.data.store import RowTable, Store
from mtl.problems import InputError, Problem
from mtl.readers.jsonl import Jsonl
from mtl.readers.permuted import Permuted

KEY = "tasks.t.data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "rows"
    path.mkdir()
    return path


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row_to_dict(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def permuted(rows: Iterable[Row], seed: int = 0, **options: Any) -> list[Any]:
    return Permuted("", of="jsonl", seed=seed, **options).permute(rows)


def read(path: Any, cache: Path, **fields: Any) -> dict[str, tuple[RowTable, RowSummary]]:
    return read_data({"reader": "permuted", "of": "jsonl", "path": path, **fields}, cache)


def read_data(fields: dict[str, Any], cache: Path) -> dict[str, tuple[RowTable, RowSummary]]:
    path = fields["path"]
    spec = DataSpec(**{**fields, "path": path if isinstance(path, dict) else str(path)})
    return read_rows(spec, KEY, Store(cache))


def labels_of(rows: Iterable[Any]) -> list[Any]:
    return [row.label for row in rows]


def refused(path: Any, cache: Path, **fields: Any) -> list[Problem]:
    with pytest.raises(InputError) as error:
        read(path, cache, **fields)
    return error.value.problems


# --- texts with a label -----------------------------------------------------------------------------------------------

Labels = st.lists(st.none() | st.sampled_from(["a", "b"]) | st.tuples(st.just("x"), st.just("y")), max_size=30)


def labelled(labels: Iterable[Any]) -> list[TextRow]:
    return [TextRow(str(n), f"d{n // 3}", f"text {n}", label=label) for n, label in enumerate(labels)]


@given(labels=Labels, seed=st.integers(0, 3))
@settings(deadline=None)
def test_labels_are_dealt_anew_and_all_else_stays(labels: list[Any], seed: int) -> None:
    rows = labelled(labels)
    found = permuted(rows, seed)
    assert Counter(row.label for row in found) == Counter(labels)
    assert [row.label is None for row in found] == [label is None for label in labels]
    assert [(row.id, row.document, row.text) for row in found] == [(row.id, row.document, row.text) for row in rows]


def test_the_labels_of_many_rows_tell_nothing_of_the_rows_any_more() -> None:
    rows = labelled([float(n) for n in range(1000)])
    moved = [row.label for row in permuted(rows)]
    assert (
        sum(a.label == b for a, b in zip(rows, moved, strict=True)) < 10
    )  # a permutation has 1 fixed point on average
    assert sum(moved[:500]) == pytest.approx(sum(moved[500:]), rel=0.15)


def test_the_same_seed_gives_the_same_labels_and_another_seed_others() -> None:
    rows = labelled([float(n) for n in range(30)])
    assert permuted(rows, 1) == permuted(rows, 1)
    assert permuted(rows, 1) != permuted(rows, 2)


# --- relations --------------------------------------------------------------------------------------------------------


def mention(name: str, kind: str, start: int, *concepts: str) -> Entity:
    return Entity(name, kind, ((start, start + 1),), concepts)


def related(row_id: str, kinds: str, relations: Iterable[tuple[int, int, str | None]], **fields: Any) -> SpanRow:
    """A row with an entity of the type of each letter, and relations between their places."""
    entities = tuple(mention(f"T{n}", kind, 2 * n) for n, kind in enumerate(kinds))
    stated = tuple(Relation(f"T{head}", f"T{tail}", kind) for head, tail, kind in relations)
    return SpanRow(row_id, row_id, " ".join("x" * len(kinds)), entities=entities, relations=stated, **fields)


@st.composite
def corpora(draw: st.DrawFn) -> list[SpanRow]:
    rows = []
    for number in range(draw(st.integers(1, 6))):
        kinds = draw(st.text("CDG", min_size=2, max_size=5))
        pairs = st.tuples(st.integers(0, len(kinds) - 1), st.integers(0, len(kinds) - 1), st.sampled_from("xyz"))
        chosen = draw(st.lists(pairs, max_size=4, unique=True))
        rows.append(related(str(number), kinds, chosen))
    return rows


def types(row: SpanRow) -> dict[str, str]:
    return {entity.id: entity.type for entity in row.entities}


def marginals(rows: Iterable[SpanRow]) -> Counter[Any]:
    return Counter((types(row)[r.head], types(row)[r.tail], r.type) for row in rows for r in row.relations)


def silent_pairs(rows: Iterable[SpanRow]) -> Counter[Any]:
    """Pairs, by their types, of which nothing is said."""
    found: Counter[Any] = Counter()
    for row in rows:
        said = {frozenset((r.head, r.tail)) for r in row.relations}
        for one, other in combinations(row.entities, 2):
            if {one.id, other.id} not in said:
                found[tuple(sorted((one.type, other.type)))] += 1
    return found


@given(rows=corpora(), seed=st.integers(0, 3))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_relations_keep_their_marginals_and_pairs_their_number(rows: list[SpanRow], seed: int) -> None:
    if not any(row.relations for row in rows):
        return
    found = permuted(rows, seed)
    assert marginals(found) == marginals(rows)
    assert silent_pairs(found) == silent_pairs(rows)
    assert [row.entities for row in found] == [row.entities for row in rows]
    assert all(
        r.head != r.tail or r in row.relations for row, new in zip(rows, found, strict=True) for r in new.relations
    )


def test_what_a_head_counts_stays_and_where_it_counts_it_does_not() -> None:
    rows = [related(str(n), "CDD", [(0, 1, "CID")]) for n in range(200)]
    head = RelationClassification(["CID", "none"], 8, negative="none", pairs=[("C", "D")])
    found = permuted(rows)

    def counted(some: Iterable[SpanRow]) -> Counter[str]:
        return sum((Counter(head.label_counts(row)) for row in some), Counter())

    assert counted(found) == counted(rows) == {"CID": 200, "none": 200}
    firsts = sum(r.tail == "T1" for row in found for r in row.relations)
    assert 70 < firsts < 130  # 100 of 200, with a deviation of 7
    assert {len(row.relations) for row in found} == {0, 1, 2}


def test_relations_of_like_types_stay_one_per_pair_whatever_their_direction() -> None:
    rows = [related(str(n), "GGG", [(1, 0, "binds"), (1, 2, "cuts")]) for n in range(40)]
    head = RelationClassification(["binds", "cuts", "none"], 8, negative="none", entity_types=["G"])
    found = permuted(rows)
    counts = sum((Counter(head.label_counts(row)) for row in found), Counter())
    assert counts == {"binds": 40, "cuts": 40, "none": 40}
    backwards = Counter(r.type for row in found for r in row.relations if r.head > r.tail)
    assert backwards == {"binds": 40}


def test_relations_of_concepts_join_concepts() -> None:
    rows = [
        SpanRow(
            str(n),
            str(n),
            "a b c d",
            entities=(
                mention("T1", "C", 0, "C1"),
                mention("T2", "D", 2, "D1"),
                mention("T3", "D", 4, "D2"),
                mention("T4", "C", 6, "C1"),
            ),
            relations=(Relation("C1", "D1", "CID"),),
        )
        for n in range(60)
    ]
    found = permuted(rows)
    pairs = Counter((r.head, r.tail) for row in found for r in row.relations)
    assert pairs.keys() == {("C1", "D1"), ("C1", "D2")}
    assert pairs.total() == 60
    assert 15 < pairs["C1", "D2"] < 45


def test_where_relations_stay_in_sentences_they_stay_there() -> None:
    sentences = ((0, 3), (4, 7))
    rows = [related(str(n), "CDCD", [(0, 1, "CID")], sentences=sentences) for n in range(60)]
    found = permuted(rows)
    assert {(r.head, r.tail) for row in found for r in row.relations} == {("T0", "T1"), ("T2", "T3")}
    rows[0] = related("0", "CDCD", [(0, 3, "CID")], sentences=sentences)
    found = permuted(rows)
    assert ("T2", "T1") in {(r.head, r.tail) for row in found for r in row.relations}


def test_masked_pairs_stay_masked_and_get_nothing() -> None:
    rows = [related(str(n), "CDD", [(0, 1, None), (0, 2, "xy"[n % 2])]) for n in range(20)]
    found = permuted(rows)
    assert all(Relation("T0", "T1", None) in row.relations for row in found)
    assert all(len(row.relations) == 2 for row in found)
    assert [row.relations for row in found] != [row.relations for row in rows]


def test_rows_that_are_annotated_for_some_types_permute_what_they_say_among_themselves() -> None:
    whole = [related(f"w{n}", "CD", [(0, 1, "x")] * (n % 2)) for n in range(40)]
    partly = [related(f"p{n}", "CDD", [(0, 1 + n % 2, "y")], annotated=("C", "D", "y")) for n in range(40)]
    found = permuted([*whole, *partly])
    assert Counter(r.type for row in found[:40] for r in row.relations) == {"x": 20}
    assert [row.relations for row in found[:40]] != [row.relations for row in whole]
    assert found[40:] == partly  # every pair with a relation has the same one
    assert all(row.annotated == ("C", "D", "y") for row in found[40:])


# --- mentions ---------------------------------------------------------------------------------------------------------


@st.composite
def tagged(draw: st.DrawFn) -> SpanRow:
    """A row of words of one letter to four with mentions side by side."""
    words = draw(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=14))
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    entities, first = [], draw(st.integers(0, 3))
    while first < len(words):
        last = min(first + draw(st.integers(0, 3)), len(words) - 1)
        kind = draw(st.sampled_from("CD"))
        entities.append(Entity(f"T{first}", kind, ((spans[first][0], spans[last][1]),)))
        first = last + 1 + draw(st.integers(0, 4))
    own = tuple(spans) if draw(st.booleans()) else None
    return SpanRow("r", "r", " ".join(words), words=own, entities=tuple(entities), annotated=("C", "D"))


def lengths(row: SpanRow) -> list[tuple[str, str, int]]:
    return [(e.id, e.type, len(row.text[e.spans[0][0] : e.spans[-1][1]].split())) for e in row.entities]


@given(row=tagged(), seed=st.integers(0, 5))
@settings(deadline=None)
def test_mentions_keep_number_type_and_length_and_lie_side_by_side_on_words(row: SpanRow, seed: int) -> None:
    (found,) = permuted([row], seed)
    assert lengths(found) == lengths(row)
    assert (found.text, found.words, found.annotated) == (row.text, row.words, row.annotated)
    starts = {n for n in range(len(row.text)) if n == 0 or row.text[n - 1] == " "}
    ends = {n for n in range(1, len(row.text) + 1) if n == len(row.text) or row.text[n] == " "}
    spans = sorted(entity.spans[0] for entity in found.entities)
    assert all(start in starts and end in ends for start, end in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


@given(row=tagged(), seed=st.integers(0, 5))
@settings(deadline=None)
def test_a_tagger_finds_as_much_to_learn_as_before(row: SpanRow, seed: int) -> None:
    (found,) = permuted([row], seed)
    head = TokenClassification(["C", "D"], 8)
    assert head.check(found) is None
    assert head.label_counts(found) == head.label_counts(row)
    assert not any(head.notes(found).values())


def test_every_word_is_as_likely_as_any_other() -> None:
    text = "a b c d e"
    rows = [SpanRow(str(n), str(n), text, entities=(mention("T", "D", 0), mention("U", "C", 2))) for n in range(1000)]
    found = permuted(rows)
    for place in (0, 1):
        counts = Counter(row.entities[place].spans[0][0] for row in found)
        assert set(counts) == {0, 2, 4, 6, 8}
        assert all(140 < count < 260 for count in counts.values())  # 200, with a deviation of 13


def test_mentions_leave_punctuation_alone_unless_the_row_has_words_of_its_own() -> None:
    rows = [SpanRow(str(n), str(n), "(no), COX-2!", entities=(Entity("T", "D", ((6, 11),)),)) for n in range(30)]
    assert {row.entities[0].spans for row in permuted(rows)} == {((1, 3),), ((6, 11),)}
    own = [SpanRow(row.id, row.id, row.text, words=((0, 1), (6, 11)), entities=row.entities) for row in rows]
    assert {row.entities[0].spans for row in permuted(own)} == {((0, 1),), ((6, 11),)}


def test_mentions_that_cant_lie_side_by_side_keep_their_lengths_all_the_same() -> None:
    entities = tuple(Entity(f"T{n}", "D", ((0, 3), (4, 5))) for n in range(3))
    (found,) = permuted([SpanRow("r", "r", "a b c d e", entities=entities)])
    assert [kind[2] for kind in lengths(found)] == [3, 3, 3]
    (empty,) = permuted([SpanRow("r", "r", "...", entities=(Entity("T", "D", ((0, 1),)),))])
    assert empty.entities[0].spans == ((0, 1),)


def test_where_a_row_has_relations_mentions_stay_unless_they_are_meant() -> None:
    rows = [related(str(n), "CDD", [(0, 1, "CID")]) for n in range(30)]
    assert [row.entities for row in permuted(rows)] == [row.entities for row in rows]
    assert [row.relations for row in permuted(rows)] != [row.relations for row in rows]
    moved = permuted(rows, mentions=True)
    assert [row.entities for row in moved] != [row.entities for row in rows]
    assert [row.relations for row in moved] == [row.relations for row in rows]


def test_another_seed_moves_mentions_and_relations_elsewhere() -> None:
    rows = [related(str(n), "CDD", [(0, 1, "CID")]) for n in range(30)]
    for mentions in (False, True):
        assert permuted(rows, 1, mentions=mentions) == permuted(rows, 1, mentions=mentions)
        assert permuted(rows, 1, mentions=mentions) != permuted(rows, 2, mentions=mentions)


# --- as a task's data -------------------------------------------------------------------------------------------------


def test_train_alone_is_permuted(folder: Path, tmp_path: Path) -> None:
    rows = labelled([str(n) for n in range(20)])
    for split in ("train", "dev", "test"):
        write(folder / f"{split}.jsonl", [TextRow(f"{split}{r.id}", r.document, split, label=r.label) for r in rows])
    found = read(folder, tmp_path / "cache", seed=1)
    labels = {split: labels_of(table) for split, (table, _) in found.items()}
    assert labels["dev"] == labels["test"] == labels_of(rows)
    assert labels["train"] != labels["dev"]
    assert sorted(labels["train"]) == sorted(labels["dev"])


def test_dev_and_test_that_are_cut_from_train_keep_their_labels(folder: Path, tmp_path: Path) -> None:
    rows = labelled([str(n) for n in range(60)])
    source = write(folder / "all.jsonl", rows)
    split = {"fractions": {"train": 0.5, "dev": 0.25, "test": 0.25}}
    some = {"split": split, "limit": {"train": 20, "dev": 9}}
    gone = read_data({"reader": "jsonl", "path": source, **some}, tmp_path / "cache")["train"][0][0].document
    some["exclude"] = [gone]
    found = read(source, tmp_path / "cache", **some)
    plain = read_data({"reader": "jsonl", "path": source, **some}, tmp_path / "cache")
    for name in ("dev", "test"):
        assert list(found[name][0]) == list(plain[name][0])
    assert [row.id for row in found["train"][0]] == [row.id for row in plain["train"][0]]
    labels = [labels_of(table["train"][0]) for table in (found, plain)]
    assert labels[0] != labels[1]
    assert sorted(labels[0]) == sorted(labels[1])
    assert found["train"][1].limited == plain["train"][1].limited > 0
    assert found["train"][1].excluded == plain["train"][1].excluded > 0


def test_any_data_can_be_permuted(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text("".join(f"text {n}\t{n}\n" for n in range(12)) + "broken\n")
    fields: dict[str, Any] = {
        "reader": "table",
        "path": {split: str(folder / f"{split}.tsv") for split in ("train", "dev")},
        "header": False,
        "columns": {"text": "0", "label": "1"},
        "refuse_bad_rows": True,
        "limit": {"train": 8},
    }
    plain = DataSpec(**fields)
    spec = plain.permuted(3)
    assert DataSpec(**spec.model_dump(mode="json")) == spec
    assert (spec.reader, spec.path, spec.limit) == ("permuted", plain.path, plain.limit)
    tables = [read_rows(data, KEY, Store(tmp_path / "cache")) for data in (plain, spec)]
    assert [row.text for row in tables[0]["train"][0]] == [row.text for row in tables[1]["train"][0]]
    assert sorted(labels_of(tables[0]["train"][0])) == sorted(labels_of(tables[1]["train"][0]))
    assert list(tables[0]["train"][0]) != list(tables[1]["train"][0])
    assert [table["train"][1].num_refused for table in tables] == [1, 1]
    again = spec.permuted(4)
    assert (again.options["of"], again.options["seed"]) == ("table", 4)
    assert list(read_rows(again, KEY, Store(tmp_path / "cache"))["train"][0]) != list(tables[1]["train"][0])


def test_what_the_wrapped_reader_refuses_stands_where_it_is_written(folder: Path, tmp_path: Path) -> None:
    source = write(folder / "train.jsonl", labelled("ab"))
    cache = tmp_path / "cache"
    assert [f.key for f in refused(folder, cache, of="jsnl")] == [f"{KEY}.of"]
    assert [f.key for f in refused(folder, cache, of="permuted")] == [f"{KEY}.of"]
    (problem,) = refused(folder, cache, options={"colums": {}})
    assert problem.key == f"{KEY}.options.colums"
    assert "Did you mean 'columns'?" in problem.suggestion
    assert [f.key for f in refused(folder, cache, options={"meta": 3})] == [f"{KEY}.options.meta"]
    assert [f.key for f in refused(folder, cache, options={"columns": {"txt": "x"}})] == [f"{KEY}.options.columns.txt"]
    assert [f.key for f in refused(folder, cache, options={"files": {}})] == [f"{KEY}.options.files"]
    assert [f.key for f in refused(folder, cache, files={"train": "no"})] == [f"{KEY}.files.train"]
    assert [f.key for f in refused(folder / "no", cache)] == [f"{KEY}.path"]
    source.write_text("no json\n")
    assert [f.key for f in refused(folder, cache)] == [f"{source}:1"]


def test_a_file_that_the_wrapped_reader_keeps_as_a_path_counts_as_read(tmp_path: Path) -> None:
    question = {"QUESTION": "Why?", "CONTEXTS": ["So."], "final_decision": "yes"}
    (tmp_path / "q.json").write_text(json.dumps({str(n): question for n in range(3)}))
    options = {"questions": "q.json", "splits": "s.json"}
    for train, dev in (("0", "1"), ("2", "0")):
        (tmp_path / "s.json").write_text(json.dumps({"train": [train], "dev": [dev], "test": []}) + " " * int(train))
        found = read(tmp_path, tmp_path / "cache", of="pubmedqa", options=options)
        assert [row.id for row in found["train"][0]] == [train]
        assert found["train"][1].left_out == {"question in no split": 1}


def test_two_splits_of_one_file_are_refused_though_one_is_permuted(folder: Path, tmp_path: Path) -> None:
    source = write(folder / "all.jsonl", labelled([str(n) for n in range(20)]))
    (problem,) = refused({"train": str(source), "dev": str(source)}, tmp_path / "cache")
    assert "'train' and 'dev' both read all of" in problem.message


def test_the_reader_itself_reads_what_it_wraps(folder: Path) -> None:
    write(folder / "train.jsonl", labelled([str(n) for n in range(9)]))
    reader = Permuted(str(folder), of="jsonl")
    assert list(reader.read("train")) == list(Jsonl(str(folder)).read("train"))

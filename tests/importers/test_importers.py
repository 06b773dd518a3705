"""What the importers read, also back from our own writers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from heads import Entity, SpanRow, TextRow
from mtl.importers import FoundRelation, FoundRow, importer_of
from mtl.importers.conll import IGNORED
from mtl.problems import InputError, Problem
from mtl.writers import PredictedRow, writer_class

TEXT = "Aspirin, ibuprofen & IL-2"
PLACES = ((0, 7), (9, 18), (21, 25))
ROW = SpanRow("D.s0", "D", TEXT, entities=tuple(Entity(f"D.s0.e{n}", "drug", (p,)) for n, p in enumerate(PLACES)))
EMPTY = SpanRow("D.s1", "D", "Nothing here.")


def entity(number: int, **more: Any) -> dict[str, Any]:
    start, end = PLACES[number]
    return {"type": "drug", "start": start, "end": end, "text": TEXT[start:end], "score": 0.5, **more}


def read(path: Path, *rows: Any, task: str = "t", format: str | None = None) -> tuple[list[FoundRow], list[Problem]]:
    importer = importer_of(path, task, format)
    return list(importer.read(rows)), importer.problems


def written(path: Path, *rows: PredictedRow) -> Path:
    writer_class(path)().write(path, rows)
    return path


def spans(row: FoundRow) -> set[Any]:
    return {(mention.type, mention.spans) for mention in row.mentions}


GIVEN = [entity(n, id=f"D.s0.e{n}", score=None) for n in range(3)]
RELATION = {"type": "effect", "head": 2, "tail": 0, "score": 0.5}


@pytest.mark.parametrize("name", ["x.PubTator", "x.conll", "x.ddi", "x.jsonl"])
def test_mentions_that_we_wrote_are_read_back(tmp_path: Path, name: str) -> None:
    found = {"t": {"entities": [entity(0), entity(2)]}}
    none: dict[str, Any] = {"t": {"entities": []}}
    path = written(tmp_path / name, PredictedRow("D.s0", "D", TEXT, found), PredictedRow("D.s1", "D", EMPTY.text, none))
    rows, problems = read(path, ROW, EMPTY)
    assert problems == []
    assert spans(rows[0]) == {("drug", ((0, 7),)), ("drug", ((21, 25),))}
    if name != "x.ddi":  # which has no line for a sentence without mentions
        assert [row.id for row in rows] == ["D.s0", "D.s1"]
        assert rows[1].mentions == ()


def test_a_word_with_a_blank_is_read_back_from_columns(tmp_path: Path) -> None:
    text = "5\u00a0mg helps"
    found = {"t": {"entities": [{"type": "dose", "start": 0, "end": 4, "text": text[:4], "score": 0.5}]}}
    path = written(tmp_path / "x.conll", PredictedRow("D.s0", "D", text, found, words=((0, 4), (5, 10))))
    (row,), problems = read(path, SpanRow("D.s0", "D", text, words=((0, 4), (5, 10))))
    assert (problems, spans(row)) == ([], {("dose", ((0, 4),))})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x.ddi.txt", FoundRelation("D.s0.e0", "D.s0.e2", "effect")), ("x.jsonl", FoundRelation(2, 0, "effect"))],
)
def test_relations_that_we_wrote_are_read_back(tmp_path: Path, name: str, expected: FoundRelation) -> None:
    path = written(
        tmp_path / name, PredictedRow("D.s0", "D", TEXT, {"t": {"entities": GIVEN, "relations": [RELATION]}})
    )
    (row,), problems = read(path, ROW, EMPTY)
    assert (problems, row.relations) == ([], (expected,))


def test_a_pubtator_relation_joins_concepts(tmp_path: Path) -> None:
    given = [entity(0, concepts=["C0"], score=None), entity(2, concepts=["C2"], score=None)]
    relation = {**RELATION, "head": 1, "tail": 0}
    prediction = {"t": {"entities": given, "relations": [relation]}}
    path = written(tmp_path / "x.PubTator", PredictedRow("D.s0", "D", TEXT, prediction, title_end=8))
    (row,), problems = read(path)
    assert problems == []
    assert (row.text, row.relations) == (TEXT, (FoundRelation("C2", "C0", "effect"),))


# --- CoNLL ------------------------------------------------------------------------------------------------------------


def test_words_may_be_divided_in_other_places_and_columns_by_blanks(tmp_path: Path) -> None:
    lines = ["-DOCSTART- O", "", "Aspirin, x B-drug", "ibuprofen x O", "&IL x B-drug", "-2 x I-drug", ""]
    (tmp_path / "x.bio").write_text("\n".join(lines), encoding="utf-8")
    (row,), problems = read(tmp_path / "x.bio", ROW)
    assert problems == []
    assert spans(row) == {("drug", ((0, 8),)), ("drug", ((19, 25),))}


@pytest.mark.parametrize("lenient", [False, True])
def test_a_tag_that_continues_no_mention_begins_one_in_lenient_tasks_and_is_counted_in_others(
    tmp_path: Path, lenient: bool
) -> None:
    tags = ["I-drug", "B-drug", "O", "I-drug", "I-gene"]
    words = ["Aspirin,", "ibuprofen", "&", "IL", "-2"]
    (tmp_path / "x.iob").write_text("\n".join(map("\t".join, zip(words, tags, strict=True))), encoding="utf-8")
    importer = importer_of(tmp_path / "x.iob", "t", lenient=lenient)
    (row,) = importer.read([ROW])
    oracle = get_entities(tags) if lenient else [("drug", 1, 1)]  # seqeval's default mode
    assert [mention.type for mention in row.mentions] == [kind for kind, *_ in oracle]
    assert (len(row.mentions), dict(importer.left_out)) == ((4, {}) if lenient else (1, {IGNORED: 3}))


def test_texts_that_are_not_those_of_the_split_are_reported_by_line(tmp_path: Path) -> None:
    (tmp_path / "x.conll").write_text("Aspirin\tO\n\nNothing\tO\nhere.\tB\nmore\tX-drug\n", encoding="utf-8")
    rows, problems = read(tmp_path / "x.conll", ROW, EMPTY, EMPTY)
    assert [row.id for row in rows] == ["D.s1"]
    assert [problem.key.rpartition(":")[2] for problem in problems] == ["5", "0", "1"]


# --- DDI --------------------------------------------------------------------------------------------------------------


def test_every_pair_must_be_listed_once(tmp_path: Path) -> None:
    lines = ["D.s0|D.s0.e0|D.s0.e1|0|null", "D.s0|D.s0.e1|D.s0.e0|1|effect", "D.s0|D.s0.e0|D.s0.e2|1|int", "what"]
    (tmp_path / "x.ddi").write_text("\n".join(lines), encoding="utf-8")
    _, problems = read(tmp_path / "x.ddi", ROW, EMPTY)
    places = [problem.key.removeprefix(str(tmp_path / "x.ddi")) for problem in problems]
    assert places == [":2", ":4", ""]
    assert "D.s0" in problems[2].message
    assert "D.s1" not in problems[2].message, "a sentence without two mentions has no pair"


@pytest.mark.parametrize(
    ("text", "relates", "num_problems"),
    [
        ("", True, 1),  # all pairs are lacking
        ("D.s0|0-6|Aspirin|drug\n", True, 2),  # a line of another kind, and all pairs
        ("D.s0|D.s0.e0|D.s0.e1|0|null\n", False, 1),
        ("", False, 0),  # a system that found no mention
    ],
)
def test_a_file_of_the_other_kind_is_not_taken_for_one_that_found_nothing(
    tmp_path: Path, text: str, relates: bool, num_problems: int
) -> None:
    (tmp_path / "x.ddi").write_text(text, encoding="utf-8")
    importer = importer_of(tmp_path / "x.ddi", "t", relates=relates)
    list(importer.read([ROW, EMPTY]))
    assert len(importer.problems) == num_problems


def test_the_parts_of_a_mention_are_joined_by_semicolons(tmp_path: Path) -> None:
    (tmp_path / "x.ddi").write_text("D.s0|0-6;9-17|Aspirin ibuprofen|group\n", encoding="utf-8")
    (row,), problems = read(tmp_path / "x.ddi", ROW)
    assert (problems, spans(row)) == ([], {("group", ((0, 7), (9, 18)))})


# --- BioASQ -----------------------------------------------------------------------------------------------------------


def test_answers_that_we_wrote_are_read_back(tmp_path: Path) -> None:
    answers = [PredictedRow(n, n, "", {"t": {"label": label}}) for n, label in (("a", "yes"), ("b", "no"))]
    rows, problems = read(written(tmp_path / "x.bioasq.json", *answers))
    assert problems == []
    assert [(row.id, row.answer) for row in rows] == [("a", {"label": "yes"}), ("b", {"label": "no"})]


def test_golden_files_are_read_and_questions_of_other_types_are_counted(tmp_path: Path) -> None:
    questions = [
        {"id": "a", "type": "yesno", "exact_answer": ["Yes"], "ideal_answer": "Yes, because."},
        {"id": "b", "type": "summary", "ideal_answer": "In short."},
        {"id": "c", "type": "yesno", "exact_answer": "fever"},
        {"type": "yesno", "exact_answer": "no"},
    ]
    (tmp_path / "golden.json").write_text(json.dumps({"questions": questions}))
    importer = importer_of(tmp_path / "golden.json", "t", "bioasq")
    assert [(row.id, row.answer) for row in importer.read(())] == [("a", {"label": "yes"})]
    assert importer.left_out == {"questions of other types": 1}
    assert [("'c'" in problem.message, "fever" in problem.message) for problem in importer.problems] == [
        (True, False),
        (False, False),
    ]


@pytest.mark.parametrize(("content", "place"), [('{"questions":\n yes}', ":2"), ("[]", ""), ('{"questions": 1}', "")])
def test_a_file_of_another_shape_is_a_problem(tmp_path: Path, content: str, place: str) -> None:
    (tmp_path / "x.bioasq.json").write_text(content)
    rows, (problem,) = read(tmp_path / "x.bioasq.json")
    assert (rows, problem.key) == ([], f"{tmp_path / 'x.bioasq.json'}{place}")


# --- JSON lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        {"id": 7, "predictions": {"other": {"label": "no"}, "t": {"label": "yes", "scores": {"yes": 0.9}}}},
        {"id": "7", "predictions": {"name of another run": {"label": "yes", "scores": {"yes": 0.9}}}},
        {"id": "7", "prediction": {"label": "yes", "scores": {"yes": 0.9}}},
        {"id": "7", "text": "not read", "label": "yes", "scores": {"yes": 0.9}},
    ],
)
def test_the_prediction_of_the_task_is_found_in_any_of_its_places(tmp_path: Path, line: dict[str, Any]) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(line) + "\n\n", encoding="utf-8")
    (row,), problems = read(tmp_path / "x.jsonl", TextRow("7", "7", ""))
    assert problems == []
    assert (row.id, row.answer) == ("7", {"label": "yes", "scores": {"yes": 0.9}})


def test_ids_of_entities_in_the_line_are_indices_and_concepts_stand_before_places(tmp_path: Path) -> None:
    entities = [entity(0, id="T1"), entity(2, id="T2", spans=[[21, 23], [24, 25]])]
    relations = [
        {"head": "T2", "tail": "C9", "type": "up"},
        {"head": 0, "tail": 1, "concepts": ["C1", "C2"], "type": "up"},
    ]
    (tmp_path / "x.jsonl").write_text(json.dumps({"id": "a", "entities": entities, "relations": relations}))
    (row,), _ = read(tmp_path / "x.jsonl")
    assert row.relations == (FoundRelation(1, "C9", "up"), FoundRelation("C1", "C2", "up"))
    assert row.mentions[1].spans == ((21, 23), (24, 25))


HOSTILE = ["[" * 100_000, '{"id": "a", "value": 1' + "0" * 5_000 + "}", '{"id": "a", "label": "\\ud800"}']
FAR = '{"id": "a", "entities": [{"type": "x", "start": 1e999, "end": 2}]}'


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '{"label": "yes"}', '{"id": "a"}', '{"id": "a", "entities": [{}]}', FAR, *HOSTILE]
)
def test_a_line_that_cannot_be_read_is_reported_without_its_text(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"id": "b", "label": "no"}}\n{line}\n', encoding="utf-8")
    rows, (problem,) = read(tmp_path / "x.jsonl")
    assert [row.id for row in rows] == ["b"]
    assert problem.key.endswith(":2")
    assert line not in str(problem)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_json_is_no_file_of_answers(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.bioasq.json").write_text(text, encoding="utf-8")
    rows, problems = read(tmp_path / "x.bioasq.json")
    assert (rows, len(problems)) == ([], 1)


# --- which importer ---------------------------------------------------------------------------------------------------


def test_the_suffix_or_the_given_format_decides(tmp_path: Path) -> None:
    (tmp_path / "x.out").write_text('{"id": "a", "value": 1.5}\n', encoding="utf-8")
    (row,), _ = read(tmp_path / "x.out", format="jsonl")
    assert row.answer == {"value": 1.5}
    for given, key in ((None, str(tmp_path / "x.out")), ("json", "--format")):
        with pytest.raises(InputError) as caught:
            importer_of(tmp_path / "x.out", "t", given)
        assert [problem.key for problem in caught.value.problems] == [key]
        assert "jsonl" in caught.value.problems[0].suggestion
    with pytest.raises(InputError, match="does not exist"):
        importer_of(tmp_path / "nothing.jsonl", "t")


def test_a_file_that_is_not_utf8_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"id": "a", "label": "b"}\n\xff\n')
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.jsonl")
    assert caught.value.problems[0].key.endswith(":2")

"""Predictions of other systems as predictions of our heads: ids, labels, arguments of relations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heads import Entity, Head, Relation, Row, SpanRow, TextRow
from heads.classification import Classification
from heads.mention_classification import MentionClassification
from heads.multilabel import Multilabel
from heads.regression import Regression
from heads.relation import RelationClassification
from heads.token_classification import TokenClassification
from mtl.evaluation.scoring import score_rows
from mtl.prediction.other_systems import Imported, import_predictions
from mtl.prediction.output_records import as_record
from mtl.problems import InputError, Problem
from mtl.readers.ddi2013 import DDI2013
from mtl.readers.pubtator import Pubtator
from mtl.writers import PredictedRow, writer_class
from mtl.writers.ddi import DdiWriter

NER = TokenClassification(["Drug", "Sign"], 8)
CDR = RelationClassification(
    ["CID", "none"], 8, negative="none", pairs=[("Chemical", "Disease")], level="concept", scope="document"
)
LINKS = RelationClassification(["up", "down", "none"], 8, negative="none", pairs=[("Drug", "Sign")])


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def scores(head: Head, found: Imported) -> dict[str, float]:
    return score_rows(head, ((row, found.predictions[row.id]) for row in found.rows)).scores


def imported(path: Path, head: Head, *rows: Row, **options: Any) -> Imported:
    return import_predictions(path, "t", head, rows, **options)


def problems(path: Path, head: Head, *rows: Row, **options: Any) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        imported(path, head, *rows, **options)
    return caught.value.problems


def rows(*texts: str) -> Sequence[SpanRow]:
    return [SpanRow(f"r{n}", f"d{n}", text) for n, text in enumerate(texts)]


# --- ids --------------------------------------------------------------------------------------------------------------


def test_missing_duplicate_and_unknown_ids_are_listed_together(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        *({"id": name, "entities": []} for name in ("r1", "r1", "r7", "r3")),
    )
    found = problems(path, NER, *rows("a", "b", "c", "d"))
    assert [problem.key for problem in found] == [str(path)] * 3
    assert [[name for name in ("r0", "r1", "r2", "r3", "r7") if name in p.message] for p in found] == [
        ["r1"],
        ["r7"],
        ["r0", "r2"],
    ]


def test_a_sentence_without_a_line_in_a_ddi_file_has_no_mentions(tmp_path: Path) -> None:
    (tmp_path / "x.ddi").write_text("r1|0-0|b|Drug\n", encoding="utf-8")
    found = imported(tmp_path / "x.ddi", NER, *rows("a", "b"))
    assert found.predictions["r0"] == {"entities": []}
    assert found.predictions["r1"]["entities"] == [{"type": "Drug", "start": 0, "end": 1, "score": 1.0}]


# --- mentions ---------------------------------------------------------------------------------------------------------


def test_types_are_those_of_the_task_or_mapped_to_them(tmp_path: Path) -> None:
    entities = [{"type": kind, "start": 0, "end": 1} for kind in ("Drug", "Medicine")]
    path = lines(tmp_path / "x.jsonl", {"id": "r0", "entities": entities})
    found = imported(path, NER, *rows("a"), names={"Medicine": "Drug"})
    assert [entity["type"] for entity in found.predictions["r0"]["entities"]] == ["Drug", "Drug"]
    found = imported(path, NER, *rows("a"), ignored=["Medicine"])
    assert [entity["type"] for entity in found.predictions["r0"]["entities"]] == ["Drug"]
    (problem,) = problems(path, NER, *rows("a"))
    assert "Medicine" in problem.message
    assert "r0" in problem.message


def test_mentions_outside_the_text_and_other_texts_are_errors(tmp_path: Path) -> None:
    (tmp_path / "x.PubTator").write_text("r0|t|Fever\nr0|a|\n\n", encoding="utf-8")
    (problem,) = problems(tmp_path / "x.PubTator", NER, *rows("Aspirin"))
    assert "r0" in problem.message
    assert "Fever" not in problem.message
    path = lines(tmp_path / "x.jsonl", {"id": "r0", "entities": [{"type": "Drug", "start": 0, "end": 9}]})
    (problem,) = problems(path, NER, *rows("Aspirin"))
    assert "inside the text" in problem.message


# --- relations --------------------------------------------------------------------------------------------------------

SENTENCE = SpanRow(
    "r0",
    "d0",
    "aspirin fever rash",
    entities=(Entity("A", "Drug", ((0, 7),)), Entity("B", "Sign", ((8, 13),)), Entity("C", "Sign", ((14, 18),))),
    relations=(Relation("A", "B", "up"),),
)


@pytest.mark.parametrize(
    "found",
    [
        {"relations": [{"head": "A", "tail": "B", "type": "up"}]},
        {
            "entities": [{"type": "Sign", "start": 8, "end": 13}, {"type": "Drug", "start": 0, "end": 7}],
            "relations": [{"head": 1, "tail": 0, "type": "up"}],
        },
        {
            "entities": [
                {"id": "T1", "type": "Sign", "start": 8, "end": 13},
                {"id": "T2", "type": "Drug", "start": 0, "end": 7},
            ],
            "relations": [{"head": "T2", "tail": "T1", "type": "up"}, {"head": "A", "tail": "C", "type": "none"}],
        },
    ],
)
def test_arguments_are_gold_ids_or_mentions_at_the_same_place(tmp_path: Path, found: dict[str, Any]) -> None:
    path = lines(tmp_path / "x.jsonl", {"id": "r0", **found})
    made = imported(path, LINKS, SENTENCE)
    assert [(r["head"], r["tail"]) for r in made.predictions["r0"]["relations"]] == [("A", "B")]
    assert scores(LINKS, made)["micro_f1"] == 1.0


@pytest.mark.parametrize(("head", "tail"), [("A", "X"), ("B", "C")])
def test_an_argument_that_is_no_gold_mention_and_a_pair_that_is_no_candidate_are_errors(
    tmp_path: Path, head: str, tail: str
) -> None:
    """Otherwise such a relation would not count at all."""
    path = lines(tmp_path / "x.jsonl", {"id": "r0", "relations": [{"head": head, "tail": tail, "type": "up"}]})
    (problem,) = problems(path, LINKS, SENTENCE)
    assert "r0" in problem.message


@pytest.mark.parametrize("types", [("up", "down"), ("down", "up")])
def test_each_of_two_types_that_a_system_found_for_one_pair_counts(tmp_path: Path, types: Sequence[str]) -> None:
    relations = [{"head": "A", "tail": "B", "type": name} for name in types]
    found = scores(LINKS, imported(lines(tmp_path / "x.jsonl", {"id": "r0", "relations": relations}), LINKS, SENTENCE))
    assert (found["precision"], found["recall"]) == (0.5, 1.0)


ABSTRACT = SpanRow(
    "r0",
    "r0",
    "Lithium and tremor, not rash",
    entities=(Entity("T1", "Chemical", ((0, 7),), ("D1",)), Entity("T2", "Disease", ((12, 18),), ("D2",))),
    relations=(Relation("D1", "D2", "CID"),),
)
PUBTATOR = """r0|t|Lithium and tremor,
r0|a|not rash
r0\t0\t7\tLithium\tChemical\tD1
r0\t12\t18\ttremor\tDisease\tD2
r0\t24\t28\trash\tDisease\tD3
r0\tCID\tD1\tD2
r0\tCID\tD1\tD3
"""


def test_a_relation_with_a_concept_that_only_the_system_found_is_a_false_positive(tmp_path: Path) -> None:
    (tmp_path / "x.PubTator").write_text(PUBTATOR, encoding="utf-8")
    made = imported(tmp_path / "x.PubTator", CDR, ABSTRACT)
    found = scores(CDR, made)
    assert (found["precision"], found["recall"]) == (0.5, 1.0)


def test_the_gold_of_bc5cdr_and_of_ddi_scores_perfectly_against_itself(data_folder: Path, tmp_path: Path) -> None:
    path = data_folder / "bc5cdr_pubtator" / "CDR_TestSet.PubTator.txt"
    documents = list(Pubtator("", files={"test": str(path)}).read("test"))
    assert scores(CDR, imported(path, CDR, *documents))["micro_f1"] == 1.0
    diseases = [
        replace(row, entities=tuple(e for e in row.entities if e.type == "Disease"), relations=()) for row in documents
    ]
    disease = TokenClassification(["Disease"], 8)
    found = imported(path, disease, *diseases, ignored=["Chemical"])
    assert scores(disease, found)["f1"] == 1.0
    head = RelationClassification(
        ["false", "mechanism", "effect", "advise", "int"],
        8,
        negative="false",
        entity_types=["drug"],
        merge_types={"brand": "drug", "group": "drug", "drug_n": "drug"},
    )
    sentences = list(DDI2013(str(data_folder / "ddi2013")).read("test"))
    DdiWriter().write(tmp_path / "gold.ddi", (_as_predicted(row) for row in sentences))
    assert scores(head, imported(tmp_path / "gold.ddi", head, *sentences))["micro_f1"] == 1.0


def _as_predicted(row: Any) -> PredictedRow:
    """The gold of a row of the DDI corpus, in the form of a prediction."""
    places = {entity.id: number for number, entity in enumerate(row.entities)}
    entities = [
        {"type": e.type, "start": e.spans[0][0], "end": e.spans[-1][1], "spans": e.spans, "text": "", "score": None}
        | {"id": e.id}
        for e in row.entities
    ]
    relations = [{"type": r.type, "head": places[r.head], "tail": places[r.tail], "score": 1.0} for r in row.relations]
    return PredictedRow(row.id, row.document, row.text, {"ddi": {"entities": entities, "relations": relations}})


# --- attributes -------------------------------------------------------------------------------------------------------

STATUS = MentionClassification(["absent", "present"], 8, attribute="status", entity_types=["Sign"])
SIGNS = SpanRow(
    "r0",
    "d0",
    "no fever, rash today",
    entities=(
        Entity("A", "Sign", ((3, 8),), attributes={"status": "absent"}),
        Entity("B", "Sign", ((10, 14),), attributes={"status": "present"}),
        Entity("C", "Sign", ((10, 14),), attributes={"status": "absent"}),
        Entity("D", "Time", ((15, 20),)),
    ),
)
VALUES = {"A": "absent", "B": "present", "C": "present"}
PREDICTED = {"attributes": [{"entity": e, "name": "status", "value": v, "score": 0.5} for e, v in VALUES.items()]}


def test_attributes_that_we_predicted_are_read_back_from_each_form(tmp_path: Path) -> None:
    record = as_record(PREDICTED, SIGNS)
    writer_class(Path("x.jsonl"))().write(tmp_path / "x.jsonl", [PredictedRow("r0", "d0", SIGNS.text, {"t": record})])
    lines(tmp_path / "kept.jsonl", {"id": "r0", "prediction": PREDICTED})
    lines(tmp_path / "own.jsonl", {"id": "r0", **PREDICTED})
    expected = score_rows(STATUS, [(SIGNS, PREDICTED)]).scores
    for name in ("x", "kept", "own"):
        found = imported(tmp_path / f"{name}.jsonl", STATUS, SIGNS)
        assert {one["entity"]: one["value"] for one in found.predictions["r0"]["attributes"]} == VALUES, name
        assert scores(STATUS, found) == expected
    assert expected["accuracy"] == pytest.approx(2 / 3)


def sign(start: int, end: int, **attributes: str) -> dict[str, Any]:
    return {"type": "Sign", "start": start, "end": end, "attributes": attributes}


def test_a_mention_without_a_value_has_the_default_of_the_task(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"id": "r0", "entities": [sign(3, 8, status="absent", other="high")]})
    head = MentionClassification(["absent", "present"], 8, attribute="status", default="present")
    found = imported(path, head, SIGNS).predictions["r0"]["attributes"]
    assert {one["entity"]: one["value"] for one in found} == {
        "A": "absent",
        "B": "present",
        "C": "present",
        "D": "present",
    }
    (problem,) = problems(path, STATUS, SIGNS)
    assert "'status'" in problem.message


@pytest.mark.parametrize(
    ("entities", "word"),
    [
        ([sign(3, 8, status="high")], "high"),
        ([sign(0, 2, status="absent")], "gold mentions"),
        ([sign(3, 8, status="absent"), sign(3, 8, status="present")], "one value"),
    ],
)
def test_values_that_cannot_be_scored_are_errors(tmp_path: Path, entities: list[Any], word: str) -> None:
    path = lines(tmp_path / "x.jsonl", {"id": "r0", "entities": entities})
    row = replace(SIGNS, entities=SIGNS.entities[:1])
    assert any(word in problem.message for problem in problems(path, STATUS, row))


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "answer", "expected"),
    [
        (Classification(["yes", "no"], 8), {"label": "yes"}, {"label": "yes"}),
        (Classification(["yes", "no"], 8), {"label": "Y"}, {"label": "yes"}),
        (Multilabel(["a", "b"], 8), {"labels": ["b"]}, {"labels": ["b"]}),
        (Regression([], 8, range=(0, 4)), {"value": 2}, {"value": 2}),
    ],
)
def test_answers_are_predictions_of_their_heads(
    tmp_path: Path, head: Head, answer: dict[str, Any], expected: dict[str, Any]
) -> None:
    label: Any = {"label": "yes", "labels": ("b",), "value": 2.0}[next(iter(answer))]
    path = lines(tmp_path / "x.jsonl", {"id": "r0", **answer})
    made = imported(path, head, TextRow("r0", "r0", "a", label=label), names={"Y": "yes"})
    assert made.predictions["r0"] == expected
    assert scores(head, made)


@pytest.mark.parametrize(
    ("head", "answer", "words"),
    [
        (Classification(["yes", "no"], 8), {"label": "maybe"}, "maybe"),
        (Classification(["yes", "no"], 8), {"value": 1.0}, "label"),
        (Classification(["yes", "no"], 8, metrics=["auroc"]), {"label": "yes"}, "scores"),
        (Regression([], 8, range=(0, 4)), {"value": "high fever"}, "numbers"),
    ],
)
def test_an_answer_that_the_head_cannot_score_is_an_error_without_its_text(
    tmp_path: Path, head: Head, answer: dict[str, Any], words: str
) -> None:
    label: Any = 2.0 if isinstance(head, Regression) else "yes"
    path = lines(tmp_path / "x.jsonl", {"id": "r0", **answer})
    (problem,) = problems(path, head, TextRow("r0", "r0", "a", label=label))
    assert words in problem.message
    assert "high fever" not in problem.message

"""New names for labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heads import Entity, Relation, SpanRow, TextRow, WordProbabilities
from mtl.config.mixture import DataSpec
from mtl.data.reading import read_rows
from mtl.data.relabelling import relabelled_rows
from mtl.data.store import Store


def test_entities_relations_and_annotated_types_get_new_names_and_all_else_stays() -> None:
    row = SpanRow(
        "1",
        "d",
        "aspirin fever",
        entities=(Entity("T1", "GENE", ((0, 7),), ("C1",)), Entity("T2", "Sign", ((8, 13),))),
        relations=(Relation("T1", "T2", "up"), Relation("T2", "T1", None)),
        annotated=("GENE", "up", "Sign"),
        meta={"site": "GENE"},
    )
    (found,) = relabelled_rows([row], {"GENE": "Gene", "up": "raises", "Sign": "Gene"})
    assert found == SpanRow(
        "1",
        "d",
        "aspirin fever",
        entities=(Entity("T1", "Gene", ((0, 7),), ("C1",)), Entity("T2", "Gene", ((8, 13),))),
        relations=(Relation("T1", "T2", "raises"), Relation("T2", "T1", None)),
        annotated=("Gene", "raises"),
        meta={"site": "GENE"},
    )


def test_soft_labels_of_words_follow_the_new_names_of_their_types() -> None:
    tags = {"O": 0.25, "B-GENE": 0.25, "I-GENE": 0.125, "B-Gene": 0.375}
    row = SpanRow("1", "1", "aspirin", probabilities=(WordProbabilities(0, 7, tags), WordProbabilities(8, 9, {"O": 1})))
    (found,) = relabelled_rows([row], {"GENE": "Gene", "O": "Other"})
    assert isinstance(found, SpanRow)
    assert found.probabilities == (
        WordProbabilities(0, 7, {"O": 0.25, "B-Gene": 0.625, "I-Gene": 0.125}),
        WordProbabilities(8, 9, {"O": 1}),
    )


@pytest.mark.parametrize(
    ("label", "expected"), [("1", "yes"), ("2", "2"), (None, None), (1.0, 1.0), (("1", "2", "3"), ("yes", "2", "3"))]
)
def test_classes_get_new_names_and_numbers_stay(label: object, expected: object) -> None:
    (found,) = relabelled_rows([TextRow("1", "1", "", label=label)], {"1": "yes"})  # type: ignore[arg-type]
    assert found == TextRow("1", "1", "", label=expected)  # type: ignore[arg-type]


def test_the_types_of_a_corpus_hold_for_rows_that_do_not_say_which_they_annotate() -> None:
    rows = [SpanRow("1", "1", "a"), SpanRow("2", "2", "a", annotated=("B",)), TextRow("3", "3", "a")]
    assert [getattr(row, "annotated", None) for row in relabelled_rows(rows, {}, ["A"])] == [("A",), ("B",), None]


def test_the_keys_of_the_data_apply_to_every_split_and_change_the_fingerprint(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        line = {"text": "aspirin", "entities": [{"id": "T", "type": "DRUG", "spans": [[0, 7]]}]}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    store = Store(tmp_path / "store")
    plain = DataSpec(reader="jsonl", path=str(tmp_path))
    changed = plain.model_copy(update={"rename": {"DRUG": "Chemical"}, "annotated": ("Chemical",)})
    before, now = read_rows(plain, "data", store), read_rows(changed, "data", store)
    for split in ("train", "dev"):
        (row,) = now[split][0]
        assert isinstance(row, SpanRow)
        assert ([e.type for e in row.entities], row.annotated) == (["Chemical"], ("Chemical",))
        assert before[split][1].fingerprint != now[split][1].fingerprint
        assert before[split][1].content == now[split][1].content, "they are the same rows of the same file"

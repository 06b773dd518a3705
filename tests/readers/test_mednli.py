"""The layout is that of MedNLI on PhysioNet as BigBIO's loader reads it; the sentences are invented."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.readers.mednli import MedNLI
from mtl.readers.rqe import question_hash
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def pair(number: int, label: str, **changes: Any) -> str:
    fields = {
        "sentence1": "Zaphod has no fever.",
        "pairID": f"23eb-{number}",
        "sentence1_parse": "(ROOT (S))",
        "sentence2": f"Hypothesis {number}.",
        "gold_label": label,
    }
    return json.dumps(fields | changes)


LINES = [pair(1, "entailment"), pair(2, "contradiction"), pair(3, "neutral")]


def change(new: str) -> Malformed:
    return Malformed("mli_train_v1.jsonl", LINES[1], new, 2)


SAMPLE = Sample(
    MedNLI,
    files={"mli_train_v1.jsonl": "\n".join(LINES) + "\n"},
    rows=("entailment", "contradiction", "neutral"),
    malformed=(
        change(pair(2, "-")),
        change(pair(2, "neutral", gold_label=True)),
        change(pair(2, "neutral", sentence2="")),
        change(pair(2, "neutral", sentence1=" ")),
        change(pair(2, "neutral", sentence1=["Zaphod"])),
        change(pair(2, "neutral", pairID=1.5)),
        change('["Zaphod"]'),
        change('{"sentence1": "Zaphod"'),
        change("[" * 100_000),
    ),
)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, has.assert_an_empty_file_gives_no_rows])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def test_the_premise_comes_first_and_is_the_document(tmp_path: Path) -> None:
    (tmp_path / "mli_train_v1.jsonl").write_text("\n".join(LINES))
    rows = list(MedNLI(str(tmp_path)).read("train"))
    document = question_hash("Zaphod has no fever.")
    assert rows[0] == TextRow("23eb-1", document, "Zaphod has no fever.", "Hypothesis 1.", label="entailment")
    assert {row.document for row in rows} == {document}


def test_a_pair_without_an_id_is_named_by_its_line(tmp_path: Path) -> None:
    fields = json.loads(LINES[0])
    del fields["pairID"]
    (tmp_path / "mli_dev_v1.jsonl").write_text(json.dumps(fields))
    assert [row.id for row in MedNLI(str(tmp_path)).read("dev")] == ["dev-1"]


def test_nothing_but_the_sentences_and_the_label_decides_a_row(tmp_path: Path) -> None:
    path = tmp_path / "mli_train_v1.jsonl"
    path.write_text(pair(1, "neutral"))
    (before,) = MedNLI(str(tmp_path)).read("train")
    path.write_text(pair(1, "neutral", sentence1_parse="neutral", annotator_labels=["entailment"]))
    assert list(MedNLI(str(tmp_path)).read("train")) == [before]

"""The layout is that of EBM-NLP 2.0 as public parsers read it; the abstracts are invented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import Entity, SpanRow
from mtl.problems import InputError
from mtl.readers._parts import OVERLAPPING
from mtl.readers.ebm_nlp import DETAILS, EBMNLP, SHARED_WORD
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

WORDS = ["Zaphod", "𝛼", "had", "pain", "in", "adults", "on", "zinc"]
ROOT = "ebm_nlp_2_00"


def place(element: str, document: str, part: str = "train", phase: str = "starting_spans") -> str:
    return f"{ROOT}/annotations/aggregated/{phase}/{element}/{part}/{document}.AGGREGATED.ann"


def labels(text: str) -> str:
    """One label per line, as in version 2."""
    return "\n".join(text) + "\n"


def document(number: int, part: str = "train", **elements: str) -> dict[str, str]:
    written = {"participants": "00000100", "interventions": "00000001", "outcomes": "00110000"} | elements
    files = {place(element, str(number), part): labels(own) for element, own in written.items()}
    return files | {f"{ROOT}/documents/{number}.tokens": "\n".join(WORDS) + "\n"}


FILES = document(7) | document(8, outcomes="00000000")
ANN = place("outcomes", "7")


def change(file: str, old: str, new: str, found: str = "") -> Malformed:
    return Malformed(file, old, new, None, found)


TOKENS = f"{ROOT}/documents/7.tokens"
FIELDS: dict[str, Any] = {"rows": (("adults", "zinc", "had pain"), ("adults", "zinc")), "row_type": SpanRow}
SAMPLE = Sample(
    EBMNLP,
    files=FILES,
    malformed=(
        change(TOKENS, "adults\n", "", place("participants", "7")),
        change(TOKENS, "zinc\n", "zinc\n.\n", place("participants", "7")),
        change(ANN, "1\n1\n", "1\n1\n1\n"),
        change(ANN, "1\n1\n", "1\n2\n"),
        change(ANN, "1\n1\n", "1\nx\n"),
    ),
    **FIELDS,
)


class Archived(EBMNLP):
    """Reads an archive in a folder."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(str(Path(path) / "ebm_nlp.tar.gz"), **options)


ARCHIVE = Sample(Archived, files=FILES, pack=has.pack_tar("ebm_nlp.tar.gz"), **FIELDS)


@pytest.mark.parametrize("has_property", [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS])
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


@pytest.mark.parametrize("has_property", [has.assert_every_row_is_read, has.assert_an_empty_file_is_an_error])
def test_property_of_an_archive(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(ARCHIVE, tmp_path)


def read(tmp_path: Path, files: dict[str, str], split: str = "train", **options: Any) -> tuple[list[Any], EBMNLP]:
    has.write_files(tmp_path, {name: text.encode() for name, text in files.items()})
    reader = EBMNLP(str(tmp_path / ROOT), **options)
    return list(reader.read(split)), reader


def marked(row: SpanRow) -> list[tuple[str, str]]:
    return [(entity.type, row.text[slice(*entity.spans[0])]) for entity in row.entities]


def test_a_row_has_the_words_of_the_document_and_a_mention_for_each_run_of_a_label(tmp_path: Path) -> None:
    rows, reader = read(tmp_path, document(7))
    assert rows == [
        SpanRow(
            "7",
            "7",
            "Zaphod 𝛼 had pain in adults on zinc",
            words=((0, 6), (7, 8), (9, 12), (13, 17), (18, 20), (21, 27), (28, 30), (31, 35)),
            entities=(
                Entity("T1", "Participant", ((21, 27),)),
                Entity("T2", "Intervention", ((31, 35),)),
                Entity("T3", "Outcome", ((9, 17),)),
            ),
        )
    ]
    assert not reader.noted


@pytest.mark.parametrize("separator", [" ", ","])
def test_version_1_separates_labels_and_tokens_otherwise(separator: str, tmp_path: Path) -> None:
    files = {
        name.replace(".AGG", "_AGG"): text.strip().replace("\n", " " if name.endswith("tokens") else separator)
        for name, text in document(7).items()
    }
    assert read(tmp_path / "1", files)[0] == read(tmp_path / "2", document(7))[0]


def test_words_of_two_elements_are_in_a_mention_of_each_or_of_the_last(tmp_path: Path) -> None:
    files = document(7, participants="00011100")
    rows, reader = read(tmp_path, files)
    assert marked(rows[0]) == [("Participant", "pain in adults"), ("Intervention", "zinc"), ("Outcome", "had pain")]
    assert (reader.noted, reader.adjusted) == ({OVERLAPPING: 2}, {})
    rows, reader = read(tmp_path, files, overlap="last")
    assert marked(rows[0]) == [("Participant", "in adults"), ("Intervention", "zinc"), ("Outcome", "had pain")]
    assert (reader.noted, reader.adjusted) == ({}, {SHARED_WORD: 1})


def test_an_element_without_a_file_is_not_annotated(tmp_path: Path) -> None:
    files = document(7)
    del files[ANN]
    rows, _ = read(tmp_path, files)
    assert rows[0].annotated == ("Participant", "Intervention")


def test_documents_of_the_test_set_are_left_out_of_train_and_counted(tmp_path: Path) -> None:
    files = FILES | document(7, "test/gold") | document(6, "test/crowd")
    rows, reader = read(tmp_path, files)
    assert ([row.id for row in rows], dict(reader.left_out)) == (["8"], {"document of the test set": 1})
    assert [row.id for row in read(tmp_path, files, "test")[0]] == ["7"]


def test_hierarchical_labels_are_types_of_their_own(tmp_path: Path) -> None:
    phase = "hierarchical_labels"
    files = {name.replace("starting_spans", phase): text for name, text in document(7, outcomes="00240000").items()}
    files[place("participants", "7", phase=phase)] = labels("00000300")
    del files[place("interventions", "7", phase=phase)]
    rows, _ = read(tmp_path, files, phase=phase)
    assert marked(rows[0]) == [
        ("Participant_Sample-size", "adults"),
        ("Outcome_Pain", "had"),
        ("Outcome_Adverse-effects", "pain"),
    ]
    assert len(rows[0].annotated) == len(DETAILS["participants"]) + len(DETAILS["outcomes"])
    assert read(tmp_path / "spans", document(7) | files)[0][0].entities[0].type == "Participant"


def test_a_label_beyond_the_last_one_of_its_element_is_a_bad_row(tmp_path: Path) -> None:
    for most, ok in ((4, True), (5, False)):
        files = {place("participants", "7", phase="hierarchical_labels"): labels(f"{most}0000000")}
        files[f"{ROOT}/documents/7.tokens"] = "\n".join(WORDS)
        rows, reader = read(tmp_path / str(most), files, phase="hierarchical_labels", on_bad_row="skip")
        assert (len(rows), len(reader.bad_rows)) == ((1, 0) if ok else (0, 1))


@pytest.mark.parametrize("missing", ["documents/7.tokens", "annotations"])
def test_what_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    files = {name: text for name, text in document(7).items() if missing not in name}
    rows, reader = read(tmp_path, files, on_bad_row="skip")
    assert (rows, len(reader.bad_rows)) == ([], 1)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        EBMNLP(str(tmp_path / "nowhere")).sources()
    assert [problem.key for problem in raised.value.problems] == ["path"]

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.drafting.guess import guess
from mtl.problems import InputError
from tests.drafting import sample_files


@pytest.mark.parametrize(
    ("make", "reader", "options"),
    [
        (sample_files.bioc_in_xml, "bioc", {}),
        (sample_files.bioc_in_json, "bioc", {}),
        (sample_files.questions_in_xml, "rqe", {}),
        (sample_files.questions_in_json, "bioasq", {}),
        (sample_files.an_archive_of_ddi, "ddi2013", {}),
        (sample_files.a_folder_of_drug_labels, "tac2017", {"files": {"train": "."}}),
        (sample_files.brat_files, "brat", {"files": {"train": "."}}),
        (sample_files.words_in_iob1_with_comments, "conll", {"separator": "space", "comment": "# ", "scheme": "IOB1"}),
        (sample_files.words_in_bilou, "conll", {"scheme": "BILOU"}),
        (sample_files.words_from_windows, "conll", {"encoding": "cp1252"}),
        (sample_files.a_csv_from_windows, "table", {"delimiter": ";", "encoding": "cp1252"}),
        (
            sample_files.splits_of_which_one_is_from_windows,
            "table",
            {
                "format": "csv",
                "delimiter": ";",
                "files": {"train": "train.txt", "dev": "dev.txt", "test": "test.txt"},
                "encoding": "cp1252",
            },
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_readers_and_options_of_files(make: Any, reader: str, options: dict[str, Any], tmp_path: Path) -> None:
    found = guess(make(tmp_path)[0])
    assert (found.reader, found.options) == (reader, options)


def test_windows_is_a_comment(tmp_path: Path) -> None:
    notes = guess(sample_files.a_csv_from_windows(tmp_path)[0]).notes
    assert any("cp1252" in note for note in notes)


def test_all_files_of_a_folder_decide_on_the_tags(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("Low\tI-Sign\nfever\tI-Sign\n")
    (tmp_path / "dev.conll").write_text("# newdoc\nLow\tI-Sign\nfever\tB-Sign\n")
    assert guess(tmp_path).options == {"comment": "# ", "scheme": "IOB1"}


def test_one_document_of_a_corpus_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "1.xml").write_text('<Label drug="x"><Text/></Label>')
    with pytest.raises(InputError, match="tac2017"):
        guess(tmp_path / "1.xml")


def test_the_files_of_pubmedqa_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("ori_pqal.json", "splits.json"):
        (tmp_path / name).write_text("{}")
    assert guess(tmp_path).reader == "pubmedqa"


def test_public_data_sets_are_recognised(data_folder: Path) -> None:
    expected = {
        "ncbi_disease": "conll",
        "biosses/blurb": "table",
        "ddi2013": "ddi2013",
        "tac2017_adr/train_xml.tar.gz": "tac2017",
        "rqe_amia2016/RQE_Test_302_pairs_AMIA2016.xml": "rqe",
        "bc5cdr_pubtator/CDR_TestSet.PubTator.txt": "pubtator",
        "phee/brat": "brat",
        "pubmedqa": "pubmedqa",
    }
    assert {path: guess(data_folder / path).reader for path in expected} == expected


@pytest.mark.parametrize(
    ("name", "to"), [("notes.xlsx", "CSV"), ("NOTES.XLS", "CSV"), ("notes.docx", "one text per row")]
)
def test_files_of_office_programs_get_the_advice_to_export_them(name: str, to: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4 rest")
    with pytest.raises(InputError, match=to):
        guess(tmp_path / name)


def test_a_folder_without_splits_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError):
        guess(tmp_path / "x")


def test_a_format_that_is_not_known_is_a_problem_that_lists_the_readers(tmp_path: Path) -> None:
    (tmp_path / "notes.xml").write_text("<notes/>")
    with pytest.raises(InputError, match=r"one of the readers: bioasq, .*jsonl, .*tac2017, text\."):
        guess(tmp_path / "notes.xml")


@pytest.mark.parametrize("first", ["p0,Fever high today,yes", "p0,Exanthem,yes"])
def test_a_first_row_of_short_cells_is_no_header(first: str, tmp_path: Path) -> None:
    rows = [
        f"p{n},{('Cough dry at night since May', 'Rash on both arms and legs')[n % 2]},{('yes', 'no')[n % 2]}"
        for n in range(1, 9)
    ]
    (tmp_path / "notes.csv").write_text("\n".join([first, *rows]) + "\n")
    assert guess(tmp_path / "notes.csv").options["header"] is False


def test_a_header_may_have_names_of_several_words(tmp_path: Path) -> None:
    rows = [f"p{n};Rash on both arms and legs;{('yes', 'no')[n % 2]}" for n in range(1, 9)]
    (tmp_path / "notes.csv").write_text("\n".join(["Lfd Nr;Text der Notiz;Befund Code", *rows]) + "\n")
    assert "header" not in guess(tmp_path / "notes.csv").options


def test_deeply_nested_json_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": ' + "[" * 100_000 + "\n")
    with pytest.raises(InputError) as caught:
        guess(tmp_path / "rows.jsonl")
    assert [problem.key for problem in caught.value.problems] == [f"{tmp_path / 'rows.jsonl'}:2"]

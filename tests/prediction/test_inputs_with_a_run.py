"""Inputs as people have them, predicted by a run."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from heads import TextRow
from mtl.problems import InputError
from tests import five_tasks
from tests.prediction.planted import TEXT, cli, predict, table

pytestmark = pytest.mark.usefixtures("planted")

RECORDS = [
    {"id": "n1", "sentence": "fever", "patient": 7, "gold": "no"},
    {"id": "n2", "sentence": "no fever", "patient": 8},
]
MISMATCH = "7|t|Aspirin\n7|a|for Fever.\n7\t12\t17\tfever\tEvent\tD1\n\n"
FRENCH = "text;id\nfièvre;7\n"


def test_strings_objects_and_rows_from_python_are_the_same(planted_run: Path) -> None:
    as_text, as_object, as_row = predict(planted_run, ["fever", {"text": "fever"}, TextRow("a", "b", "fever")])
    scores = [line["predictions"]["kind"]["scores"]["yes"] for line in (as_text, as_object, as_row)]
    assert scores == pytest.approx([scores[0]] * 3)
    assert (as_row["id"], as_row["document"]) == ("a", "b")


def test_json_lines_keep_further_keys_and_know_the_columns_of_the_mixture(planted_run: Path, tmp_path: Path) -> None:
    five_tasks.write_lines(tmp_path / "notes.jsonl", RECORDS)
    assert (
        cli(
            planted_run,
            "--input",
            str(tmp_path / "notes.jsonl"),
            "--output",
            str(tmp_path / "x.jsonl"),
            "--task",
            "kind",
        )
        == 0
    )
    out = five_tasks.read_lines(tmp_path / "x.jsonl")
    assert [(line["id"], line["patient"]) for line in out] == [("n1", 7), ("n2", 8)]
    assert all(list(line) == ["id", "document", "patient", "predictions"] for line in out)
    assert stat.S_IMODE((tmp_path / "x.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("column", ["text", "sentence"])
def test_tables_keep_further_columns(planted_run: Path, tmp_path: Path, column: str) -> None:
    (tmp_path / "notes.csv").write_text(f'site,{column},id\n"A, 1","fever, high",n1\nB,none,n2\n', encoding="utf-8")
    predict(planted_run, tmp_path / "notes.csv", tmp_path / "x.csv")
    rows = table(tmp_path / "x.csv")
    assert [(row["id"], row["document"], row["site"]) for row in rows] == [("n1", "n1", "A, 1"), ("n2", "n2", "B")]
    assert all(row["kind.label"] in ("yes", "no") and 0.5 <= float(row["kind.score"]) <= 1 for row in rows)


def test_a_table_without_a_column_of_texts_is_an_error_that_names_the_columns_it_may_have(
    planted_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.csv").write_text("secret fever,note\nfever,a\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        predict(planted_run, tmp_path / "notes.csv", tmp_path / "x.csv")
    assert "text or sentence" in caught.value.problems[0].message
    assert "secret" not in str(caught.value)


def test_a_text_file_has_one_text_per_line(planted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"\xef\xbb\xbffever\r\n\n  \nno fever")
    predict(planted_run, tmp_path / "notes.txt", tmp_path / "x.jsonl")
    assert [line["id"] for line in five_tasks.read_lines(tmp_path / "x.jsonl")] == ["row-1", "row-4"]


@pytest.mark.parametrize("content", [b"fever\nrisk\n", b'{"text": "fever"}\n{"text": "risk"}\n'])
def test_standard_input_is_lines_of_text_or_json(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert cli(planted_run, "--input", "-", "--output", str(tmp_path / "x.jsonl"), "--task", "mentions") == 0
    texts = [
        line["predictions"]["mentions"]["entities"][0]["text"] for line in five_tasks.read_lines(tmp_path / "x.jsonl")
    ]
    assert texts == ["fever", "risk"]


def test_one_text_of_the_command_line(planted_run: Path, tmp_path: Path) -> None:
    assert cli(planted_run, "--text", TEXT, "--output", str(tmp_path / "x.jsonl"), "--task", "links") == 0
    (line,) = five_tasks.read_lines(tmp_path / "x.jsonl")
    assert len(line["predictions"]["links"]["relations"]) == 2


@pytest.mark.parametrize("name", ["notes.csv", "notes.jsonl"])
def test_labels_are_not_carried_whichever_name_their_column_has(planted_run: Path, tmp_path: Path, name: str) -> None:
    line = {"sentence": "fever", "label": "yes", "gold": "no", "site": "A"}
    (tmp_path / "notes.csv").write_text(f"{','.join(line)}\n{','.join(line.values())}\n", encoding="utf-8")
    five_tasks.write_lines(tmp_path / "notes.jsonl", [line])
    (found,) = predict(planted_run, tmp_path / name)
    assert list(found) == ["id", "document", "site", "predictions"]


def test_an_empty_cell_of_an_id_is_no_id(planted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("id,document,text\n,,fever\n7,,risk\n,d,fever\n", encoding="utf-8")
    found = predict(planted_run, tmp_path / "notes.csv")
    assert [(one["id"], one["document"]) for one in found] == [("row-2", "row-2"), ("7", "7"), ("row-4", "d")]


@pytest.mark.parametrize("output", [None, "x.jsonl"])
def test_texts_that_are_read_only_in_part_are_counted(
    planted_run: Path, tmp_path: Path, output: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    target = None if output is None else tmp_path / output
    predict(planted_run, ["fever", "fever and risk " * 40, "risk"], target)
    error = capfd.readouterr().err
    assert "'kind'" in error
    assert "1 of 3 texts" in error
    predict(planted_run, ["fever", "risk"], target)
    assert "texts" not in capfd.readouterr().err


def test_the_advice_for_rows_that_tasks_cannot_predict_names_only_tasks_that_can(
    planted_run: Path, tmp_path: Path
) -> None:
    pairs = [{"text": "fever", "text_pair": "risk"}]
    with pytest.raises(InputError) as all_fail:
        predict(planted_run, pairs, tasks=["kind", "mentions"])
    assert {problem.key for problem in all_fail.value.problems} == {"tasks.kind", "tasks.mentions"}
    assert not any(problem.suggestion for problem in all_fail.value.problems)


@pytest.mark.parametrize("options", [["--text", "a", "--input", "b.txt"], []])
def test_exactly_one_of_input_and_text_is_needed(planted_run: Path, tmp_path: Path, options: list[str]) -> None:
    assert cli(planted_run, *options, "--output", str(tmp_path / "x.jsonl")) == 2
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_are_skipped_and_counted_if_that_is_asked_for(
    planted_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = ['{"text": "fever"}', "{secretly", '{"text": "secret", "text_pair": "words"}', '{"text": "risk"}']
    (tmp_path / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    names = ["--input", str(tmp_path / "notes.jsonl"), "--output", str(tmp_path / "x.jsonl"), "--task", "mentions"]
    assert cli(planted_run, *names) == 2
    assert not (tmp_path / "x.jsonl").exists()
    assert cli(planted_run, *names, "--on-bad-row", "skip") == 0
    assert [line["id"] for line in five_tasks.read_lines(tmp_path / "x.jsonl")] == ["row-1", "row-4"]
    error = capfd.readouterr().err
    assert "2 bad rows" in error
    assert all(word in error for word in ("notes.jsonl:2", "row-3"))
    assert "secret" not in error


def test_a_table_of_excel_on_windows_is_predicted(planted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_bytes(FRENCH.encode("cp1252"))
    names = ["--input", str(tmp_path / "notes.csv"), "--output", str(tmp_path / "x.jsonl"), "--task", "kind"]
    assert cli(planted_run, *names) == 2
    assert cli(planted_run, *names, "--encoding", "cp1252", "--with-text") == 0
    (line,) = five_tasks.read_lines(tmp_path / "x.jsonl")
    assert (line["id"], line["text"]) == ("7", "fièvre")


def test_offsets_can_be_trusted(planted_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.PubTator").write_text(MISMATCH, encoding="utf-8")
    names = ["--input", str(tmp_path / "in.PubTator"), "--output", str(tmp_path / "x.jsonl"), "--task", "asserted"]
    assert cli(planted_run, *names) == 2
    assert "set --offsets trust" in capfd.readouterr().err
    assert cli(planted_run, *names, "--offsets", "trust") == 0
    (line,) = five_tasks.read_lines(tmp_path / "x.jsonl")
    assert [one["text"] for one in line["predictions"]["asserted"]["entities"]] == ["Fever"]
    entity = {"id": "a", "type": "Event", "spans": [[4, 9]], "text": "fever"}
    lines = [{"text": "for Fever.", "entities": [entity]}]
    assert predict(planted_run, lines, tasks=["asserted"], offsets="trust")
    with pytest.raises(InputError):
        predict(planted_run, lines, tasks=["asserted"])


def test_repeated_ids_get_a_number_and_keep_their_document(
    planted_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.csv").write_text("id,text\n7,fever\n7-2,risk\n7,fever\n8,risk\n7,no\n", encoding="utf-8")
    predict(planted_run, tmp_path / "notes.csv", tmp_path / "x.csv")
    rows = table(tmp_path / "x.csv")
    assert [row["id"] for row in rows] == ["7", "7-2", "7-3", "8", "7-4"]
    assert [row["document"] for row in rows] == ["7", "7-2", "7", "8", "7"]
    assert "2 rows repeat" in capfd.readouterr().err
    (tmp_path / "stays.csv").write_text("id,document,text\n7,a,fever\n7,b,risk\n", encoding="utf-8")
    assert [line["document"] for line in predict(planted_run, tmp_path / "stays.csv")] == ["a", "b"]


def test_neither_texts_nor_carried_values_are_printed(
    planted_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = five_tasks.SECRET
    lines = [{"id": "n1", "text": f"{TEXT} {secret}", secret: secret}, {"text": secret, "text_pair": secret}]
    five_tasks.write_lines(tmp_path / "notes.jsonl", lines)
    (tmp_path / "notes.csv").write_text(f"text,{secret}\n{secret},{secret}\n{secret}\n", encoding="utf-8")
    (tmp_path / "notes.PubTator").write_text(f"7|t|{secret}\n7|a|{secret}\n7\t0\t4\t{secret}\tDrug\n", encoding="utf-8")
    for source in ("notes.jsonl", "notes.csv", "notes.PubTator"):
        for suffix in (".jsonl", ".csv", ".xml"):
            for more in ([], ["--on-bad-row", "skip"]):
                names = ["--input", str(tmp_path / source), "--output", str(tmp_path / f"{source}{suffix}")]
                cli(planted_run, *names, "--task", "mentions", "links", *more)
    streams = capfd.readouterr()
    assert secret not in streams.out + streams.err
    assert secret in (tmp_path / "notes.jsonl.xml").read_text(encoding="utf-8")

"""`mtl predict` on inputs as people have them, with planted mentions and relations."""

from __future__ import annotations

import csv
import io
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from heads import Entity, SpanRow, TextRow
from mtl import predict_rows
from mtl.commands import run as command
from mtl.prediction import predictor
from mtl.prediction.inputs import OwnRows, open_input
from mtl.prediction.pipeline import CHUNK
from mtl.prediction.predicting import Shard
from mtl.problems import InputError
from mtl.readers.brat import Brat
from mtl.readers.pubtator import Pubtator
from mtl.training.module import MultiTaskModule
from tests import five_tasks

FP32 = {"accelerator": "cpu", "precision": "32-true"}
TEXT = "aspirin increases fever and risk"
pytestmark = pytest.mark.usefixtures("planted")


def predict(run: Path, source: Any, output: Any = None, tasks: Any = ("kind",), **options: Any) -> Any:
    return predict_rows(run, source, output, tasks=list(tasks), trainer=FP32, **options)


def cli(run: Path, *options: str) -> int:
    trainer = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"]
    return command(["predict", str(run), *options, *trainer])


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


# --- what is predicted ------------------------------------------------------------------------------------------------


def test_relations_of_raw_text_join_the_mentions_that_the_run_finds(planted_run: Path) -> None:
    (line,) = predict(planted_run, [TEXT], tasks=["mentions", "links"])
    entities = [
        {"type": "Drug", "start": 0, "end": 7, "text": "aspirin", "score": 0.75},
        {"type": "Event", "start": 18, "end": 23, "text": "fever", "score": 0.75},
        {"type": "Event", "start": 28, "end": 32, "text": "risk", "score": 0.75},
    ]
    up = {"type": "up", "score": 0.875}
    assert line == {
        "id": "row-1",
        "document": "row-1",
        "predictions": {
            "mentions": {"entities": entities},
            "links": {"entities": entities, "relations": [{**up, "head": 0, "tail": 1}, {**up, "head": 0, "tail": 2}]},
        },
    }
    (alone,) = predict(planted_run, [TEXT], tasks=["links"])
    assert alone["predictions"] == {"links": line["predictions"]["links"]}, "the entity task need not be written"


def test_mentions_with_the_same_text_are_one_concept(planted_run: Path) -> None:
    (line,) = predict(planted_run, ["ibuprofen and Ibuprofen induce severe bleeding"], tasks=["induced"])
    found = line["predictions"]["induced"]
    assert [entity["text"] for entity in found["entities"]] == ["ibuprofen", "Ibuprofen", "severe bleeding"]
    assert [(r["head"], r["tail"], r["type"]) for r in found["relations"]] == [(0, 2, "CID")]


def test_given_mentions_are_kept_and_rows_without_any_get_predicted_ones(planted_run: Path) -> None:
    entities = [
        {"id": "x", "type": "Drug", "spans": [[0, 7]]},
        {"id": "y", "type": "Event", "spans": [[8, 17]]},
    ]
    given, raw = predict(planted_run, [{"text": TEXT, "entities": entities}, TEXT], tasks=["links"])
    found = given["predictions"]["links"]
    assert [(entity["text"], entity["score"]) for entity in found["entities"]] == [
        ("aspirin", None),
        ("increases", None),
    ]
    assert len(found["relations"]) == 1
    assert len(raw["predictions"]["links"]["relations"]) == 2


def test_attributes_of_raw_text_belong_to_the_mentions_that_the_run_finds(planted_run: Path) -> None:
    (line,) = predict(planted_run, [TEXT], tasks=["asserted", "mentions"])
    absent = {"attributes": {"assertion": {"value": "absent", "score": 0.875}}}
    found = line["predictions"]["mentions"]["entities"]
    assert line["predictions"]["asserted"] == {"entities": [{**found[1], **absent}, {**found[2], **absent}]}
    assert [entity["text"] for entity in found] == ["aspirin", "fever", "risk"], "an entity task labels nothing"


def test_given_mentions_are_labelled_whatever_their_own_value(planted_run: Path) -> None:
    entities = [
        {"id": "x", "type": "Event", "spans": [[8, 12], [18, 23]], "attributes": {"assertion": "unheard of"}},
        {"id": "y", "type": "Drug", "spans": [[0, 7]], "concepts": ["D1"]},
    ]
    given, other = predict(
        planted_run,
        [{"text": TEXT, "entities": entities}, {"text": TEXT, "entities": entities[1:]}],
        tasks=["asserted"],
    )
    (found,) = given["predictions"]["asserted"]["entities"]
    assert (found["spans"], found["score"]) == ([[8, 12], [18, 23]], None)
    assert found["attributes"]["assertion"]["value"] == "absent"
    predicted = [entity["text"] for entity in other["predictions"]["asserted"]["entities"]]
    assert predicted == ["fever", "risk"], "a row without mentions of the task's types gets predicted ones"


def test_a_label_has_its_probability(planted_run: Path) -> None:
    (line,) = predict(planted_run, ["fever"])
    kind = line["predictions"]["kind"]
    assert list(kind) == ["label", "score", "scores"]
    assert kind["score"] == max(kind["scores"].values()) == kind["scores"][kind["label"]]
    assert sum(kind["scores"].values()) == pytest.approx(1)


def test_strings_objects_and_rows_from_python_are_the_same(planted_run: Path) -> None:
    as_text, as_object, as_row = predict(planted_run, ["fever", {"text": "fever"}, TextRow("a", "b", "fever")])
    scores = [line["predictions"]["kind"]["scores"]["yes"] for line in (as_text, as_object, as_row)]
    assert scores == pytest.approx([scores[0]] * 3)
    assert (as_row["id"], as_row["document"]) == ("a", "b")


# --- inputs -----------------------------------------------------------------------------------------------------------

RECORDS = [
    {"id": "n1", "sentence": "fever", "patient": 7, "gold": "no"},
    {"id": "n2", "sentence": "no fever", "patient": 8},
]


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
    assert "'kind' read 1 of 3 texts" in capfd.readouterr().err
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
    assert "2 bad rows are skipped" in error
    assert all(word in error for word in ("notes.jsonl:2", "row-3"))
    assert "secret" not in error


# --- formats of the output, read back ---------------------------------------------------------------------------------

PUBTATOR = "7|t|Aspirin\n7|a|increases fever and risk.\n\n8|t|No\n8|a|finding.\n\n"


def test_pubtator_in_and_out(planted_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.PubTator").write_text(PUBTATOR, encoding="utf-8")
    predict(planted_run, tmp_path / "in.PubTator", tmp_path / "x.PubTator", tasks=["mentions", "links"])
    assert (tmp_path / "x.PubTator").read_text(encoding="utf-8").startswith("7|t|Aspirin\n7|a|increases")
    first, second = Pubtator("", files={"test": str(tmp_path / "x.PubTator")}).read("test")
    assert [(e.type, first.text[slice(*e.spans[0])]) for e in first.entities] == [
        ("Drug", "Aspirin"),
        ("Event", "fever"),
        ("Event", "risk"),
    ]
    assert len(first.relations) == 2
    assert (second.id, second.entities) == ("8", ())


def test_brat_and_bioc(planted_run: Path, tmp_path: Path) -> None:
    predict(planted_run, [TEXT], tmp_path / "x.ann", tasks=["mentions", "links"])
    predict(planted_run, [TEXT, "fever"], tmp_path / "many.ann", tasks=["mentions"])
    predict(planted_run, [TEXT], tmp_path / "x.xml", tasks=["mentions", "links", "kind"])
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == TEXT
    rows = list(Brat("", files={"test": str(tmp_path / "many.ann")}).read("test"))
    assert [len(row.entities) for row in rows] == [3, 1]
    assert (tmp_path / "x.ann").read_text(encoding="utf-8").count("\nR") == 2
    predict(planted_run, [TEXT], tmp_path / "y.ann", tasks=["mentions", "links", "asserted"])
    lines = (tmp_path / "y.ann").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line[0] == "A"] == ["A1\tassertion T2 absent", "A2\tassertion T3 absent"]
    root = ElementTree.parse(tmp_path / "x.xml").getroot()
    assert len(root.findall("document/passage/annotation")) == 3
    assert root.findtext("document/infon[@key='kind']") in ("yes", "no")


def test_the_long_form_of_a_table(planted_run: Path, tmp_path: Path) -> None:
    predict(planted_run, [{"text": TEXT, "site": "A"}, "none"], tmp_path / "x.csv", tasks=["mentions"], long=True)
    rows = table(tmp_path / "x.csv")
    assert [(row["id"], row["site"], row["text"]) for row in rows] == [
        ("row-1", "A", "aspirin"),
        ("row-1", "A", "fever"),
        ("row-1", "A", "risk"),
    ]


def test_attributes_are_refused_by_a_format_that_has_none(planted_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        predict(planted_run, [TEXT], tmp_path / "x.PubTator", tasks=["mentions", "asserted"])
    assert caught.value.problems[0].key == "--output"
    assert caught.value.problems[0].suggestion.startswith("Add --task mentions,")


@pytest.mark.parametrize("name", ["x.PubTator", "x.ann"])
def test_labels_are_refused_by_formats_that_have_none(planted_run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        predict(planted_run, [TEXT], tmp_path / name, tasks=["mentions", "kind"])
    assert caught.value.problems[0].key == "--output"
    assert "--task mentions" in caught.value.problems[0].suggestion


# --- shares and interruptions -----------------------------------------------------------------------------------------


def many(path: Path, num_rows: int = 2 * CHUNK + 9) -> Path:
    rows = [{"id": f"r{n}", "text": " ".join([TEXT, *["the"] * (n % 11)]), "n": n} for n in range(num_rows)]
    five_tasks.write_lines(path, rows)
    return path


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.PubTator"])
def test_concatenated_shards_are_the_whole(planted_run: Path, tmp_path: Path, name: str) -> None:
    tasks = ["mentions", "links"] if name == "x.PubTator" else ["mentions", "links", "kind"]
    source = many(tmp_path / "notes.jsonl")
    predict(planted_run, source, tmp_path / name, tasks=tasks)
    parts = []
    for number in (1, 2, 3, 4):
        predict(planted_run, source, tmp_path / f"{number}{name}", tasks=tasks, shard=f"{number}/4")
        parts.append((tmp_path / f"{number}{name}").read_bytes())
    assert b"".join(parts) == (tmp_path / name).read_bytes()
    assert sum(bool(part) for part in parts) == 3, "three chunks"


@pytest.mark.parametrize("num_rows", [0, 1, 64, 65, 1000])
@pytest.mark.parametrize("num_shards", [1, 2, 7])
def test_every_row_is_in_one_shard(num_rows: int, num_shards: int) -> None:
    shards = [Shard(number, num_shards).rows(num_rows) for number in range(1, num_shards + 1)]
    assert [row for rows in shards for row in rows] == list(range(num_rows))


def fail_in_second_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the prediction fail at a row of the second chunk."""
    step = MultiTaskModule.predict_step

    def fail(self: Any, batch: Any, index: int) -> Any:
        if any(example["row"] > CHUNK for part in batch.parts for example in part.examples):
            raise ZeroDivisionError
        return step(self, batch, index)

    monkeypatch.setattr(MultiTaskModule, "predict_step", fail)


@pytest.mark.parametrize("name", ["x.jsonl", "x.xml"])
def test_an_interrupted_prediction_is_resumed_to_the_same_output(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source, tasks = many(tmp_path / "notes.jsonl"), ["mentions", "links", "kind"]
    predict(planted_run, source, tmp_path / f"whole-{name}", tasks=tasks)
    (tmp_path / name).write_text("old", encoding="utf-8")
    num_batches = [0]
    step = MultiTaskModule.predict_step
    with monkeypatch.context() as patched:
        fail_in_second_chunk(patched)
        with pytest.raises(ZeroDivisionError):
            predict(planted_run, source, tmp_path / name, tasks=tasks)
    assert (tmp_path / name).read_text(encoding="utf-8") == "old"
    assert "--resume" in capfd.readouterr().err
    unfinished = tmp_path / f".{name}.unfinished"
    assert stat.S_IMODE(unfinished.stat().st_mode) == 0o600

    def counting(self: Any, batch: Any, index: int) -> Any:
        num_batches[0] += bool(batch.parts)
        return step(self, batch, index)

    with unfinished.open("a", encoding="utf-8") as file:
        file.write('{"half of a li')
    monkeypatch.setattr(MultiTaskModule, "predict_step", counting)
    predict(planted_run, source, tmp_path / name, tasks=tasks, resume=True)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not unfinished.exists()
    resumed, num_batches[0] = num_batches[0], 0
    predict(planted_run, source, tmp_path / name, tasks=tasks)
    assert 0 < resumed < num_batches[0], "finished chunks are not predicted again"


def test_another_input_does_not_resume_and_a_fresh_start_discards_what_was_left(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = many(tmp_path / "notes.jsonl")
    with monkeypatch.context() as patched:
        fail_in_second_chunk(patched)
        with pytest.raises(ZeroDivisionError):
            predict(planted_run, source, tmp_path / "x.jsonl")
    many(source, 70)
    with pytest.raises(InputError) as caught:
        predict(planted_run, source, tmp_path / "x.jsonl", resume=True)
    assert caught.value.problems[0].key == "--resume"
    predict(planted_run, source, tmp_path / "x.jsonl")
    assert len(five_tasks.read_lines(tmp_path / "x.jsonl")) == 70
    assert not (tmp_path / ".x.jsonl.unfinished").exists()


@pytest.mark.slow
def test_a_killed_prediction_is_resumed_to_the_same_output(planted_run: Path, tmp_path: Path) -> None:
    source = many(tmp_path / "notes.jsonl", 40 * CHUNK)
    words = [sys.executable, "-m", "mtl", "predict", str(planted_run), "--input", str(source), "--task", "kind"]
    words += ["--trainer.accelerator=cpu", "--trainer.precision=32-true", "--output", str(tmp_path / "x.jsonl")]
    unfinished = tmp_path / ".x.jsonl.unfinished"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env={**os.environ, "HF_HUB_OFFLINE": "1"}, **quiet) as process:
        while process.poll() is None and not (unfinished.is_file() and unfinished.stat().st_size > 30_000):
            time.sleep(0.02)
        assert process.poll() is None, "it was finished before it could be killed"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "x.jsonl").exists()
    predict(planted_run, source, tmp_path / "x.jsonl", resume=True)
    predict(planted_run, source, tmp_path / "whole.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


# --- no text leaves through the streams -------------------------------------------------------------------------------


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


def test_relations_of_the_input_are_not_read_whatever_they_say(tmp_path: Path) -> None:
    relation = "7\tPositive_Correlation\tD1\tD2\tNovel\n"
    mentions = "7\t0\t7\tAspirin\tDrug\tD1\n7\t15\t20\tfever\tSign\tD2\n"
    (tmp_path / "in.PubTator").write_text(f"7|t|Aspirin\n7|a|treats fever.\n{mentions}{relation}", encoding="utf-8")
    rows, bad = open_input(tmp_path / "in.PubTator", []).read()
    (read,) = rows
    assert (bad, read.carried, read.title_end) == ([], {}, 7)


def test_bioc_gives_texts_and_mentions(tmp_path: Path) -> None:
    place = '<location offset="0" length="7"/><text>Aspirin</text>'
    annotation = f'<annotation id="1"><infon key="type">Drug</infon>{place}</annotation>'
    passage = f"<passage><offset>0</offset><text>Aspirin treats fever.</text>{annotation}</passage>"
    xml = f"<collection><document><id>7</id>{passage}</document></collection>"
    (tmp_path / "in.xml").write_text(xml, encoding="utf-8")
    rows, bad = open_input(tmp_path / "in.xml", []).read()
    (read,) = rows
    assert (bad, read.row.id, read.row.text, read.carried) == ([], "7", "Aspirin treats fever.", {})


# --- inputs as users have them: encodings, delimiters, repeated ids ---------------------------------------------------

SECOND_SENTENCE = "aspirin increases fever. Risk of nothing."
MISMATCH = "7|t|Aspirin\n7|a|for Fever.\n7\t12\t17\tfever\tEvent\tD1\n\n"
FRENCH = "text;id\nfièvre;7\n"


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


@pytest.mark.parametrize("name", ["x.csv", "x.PubTator"])
def test_shares_of_repeated_ids_are_the_whole_and_resume(
    planted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = [{"id": f"r{n % 5}", "text": TEXT} for n in range(CHUNK + 9)]
    five_tasks.write_lines(tmp_path / "notes.jsonl", rows)
    predict(planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"])
    whole = (tmp_path / name).read_bytes()
    parts = []
    for number in (1, 2):
        share = tmp_path / f"{number}{name}"
        predict(planted_run, tmp_path / "notes.jsonl", share, tasks=["mentions"], shard=f"{number}/2")
        parts.append(share.read_bytes())
    assert b"".join(parts) == whole
    with monkeypatch.context() as patched:
        fail_in_second_chunk(patched)
        with pytest.raises(ZeroDivisionError):
            predict(planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"])
    with pytest.raises(InputError) as caught:
        predict(
            planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"], encoding="cp1252", resume=True
        )
    assert caught.value.problems[0].key == "--resume"
    predict(planted_run, tmp_path / "notes.jsonl", tmp_path / name, tasks=["mentions"], resume=True)
    assert (tmp_path / name).read_bytes() == whole


# --- what rows lack: concepts of their mentions, sentences ------------------------------------------------------------

UNLINKED = "7|t|ibuprofen\n7|a|and Ibuprofen induce bleeding\n7\t0\t9\tibuprofen\tChemical\t-1\n"
UNLINKED += "7\t14\t23\tIbuprofen\tChemical\n7\t31\t39\tbleeding\tDisease\t{}\n\n"


@pytest.mark.parametrize("concept", ["-1", "D2"])
def test_given_mentions_without_concepts_are_related_by_their_text(
    planted_run: Path, tmp_path: Path, concept: str
) -> None:
    (tmp_path / "in.PubTator").write_text(UNLINKED.format(concept), encoding="utf-8")
    (line,) = predict(planted_run, tmp_path / "in.PubTator", tasks=["induced"])
    found = line["predictions"]["induced"]
    (relation,) = found["relations"]
    assert (relation["head"], relation["tail"], relation["type"]) == (0, 2, "CID")
    assert [entity.get("concepts") for entity in found["entities"]] == [
        None,
        None,
        [concept] if concept > "A" else None,
    ]
    assert relation.get("concepts") == (["T1", "D2"] if concept == "D2" else None)
    predict(planted_run, tmp_path / "in.PubTator", tmp_path / "x.PubTator", tasks=["induced"])
    (row,) = Pubtator("", files={"test": str(tmp_path / "x.PubTator")}).read("test")
    assert [(one.head, one.tail) for one in row.relations] == [("T1", "D2" if concept == "D2" else "T3")]


def test_a_text_is_divided_into_sentences_for_tasks_that_learned_from_single_ones(
    planted_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (line,) = predict(planted_run, [SECOND_SENTENCE], tasks=["links", "mentions"])
    texts = [entity["text"] for entity in line["predictions"]["links"]["entities"]]
    assert texts == ["aspirin", "fever", "Risk"]
    assert [(r["head"], r["tail"]) for r in line["predictions"]["links"]["relations"]] == [(0, 1)]
    error = capfd.readouterr().err
    assert "'links'" in error
    assert "1 text " in error
    entities = [
        {"id": name, "type": kind, "spans": [list(span)]}
        for name, kind, span in (("a", "Drug", (0, 7)), ("f", "Event", (18, 23)), ("r", "Event", (25, 29)))
    ]
    whole = {"text": SECOND_SENTENCE, "entities": entities}
    divided, one = predict(planted_run, [whole, {**whole, "sentences": [[0, 41]]}], tasks=["links"])
    assert len(divided["predictions"]["links"]["relations"]) == 1
    assert len(one["predictions"]["links"]["relations"]) == 2, "sentences of the input come first"


def test_a_checkpoint_that_does_not_say_what_it_learned_from_takes_a_text_for_a_sentence_with_a_warning(
    planted_run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known = predictor.trained_rows
    monkeypatch.setattr(predictor, "trained_rows", lambda content: known(content)._replace(in_sentences={}))
    (line,) = predict(planted_run, [SECOND_SENTENCE], tasks=["links"])
    assert len(line["predictions"]["links"]["relations"]) == 2
    assert "'links'" in capfd.readouterr().err
    predict(planted_run, ["aspirin increases fever"], tasks=["links"])
    assert capfd.readouterr().err.count("'links'") == 0, "a single sentence needs no warning"


def test_rows_of_the_runs_own_data_are_predicted_as_they_are(planted_run: Path) -> None:
    places = [(0, 9, "Chemical", ()), (17, 25, "Disease", ("D2",)), (27, 31, "Event", ()), (32, 39, "Drug", ())]
    entities = tuple(Entity(f"T{n}", kind, ((a, b),), ids) for n, (a, b, kind, ids) in enumerate(places))
    row = SpanRow("1", "1", "ibuprofen induces bleeding. Risk aspirin", entities=entities)
    (line,) = predict(planted_run, OwnRows([row]), tasks=["induced"])
    assert line["predictions"]["induced"]["relations"] == []
    (line,) = predict(planted_run, [row], tasks=["induced"])
    assert len(line["predictions"]["induced"]["relations"]) == 1

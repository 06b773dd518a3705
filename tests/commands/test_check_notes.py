"""What `mtl check` notes about rows, and prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands.check import main
from mtl.planning.mixture_check import check
from mtl.readers._parts import KEPT, OVERLAPPING
from tests.commands.small_mixtures import TAGGING, Write, classified, plan, tagged


def printed(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["check", str(path)]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.startswith("risk: ")]
    return [line for line in lines if " also in " not in line]  # the splits of these toys are alike


def test_notes_are_one_line_per_kind_and_splits_share_it(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*classified(2), {"text": "x"}]
    files = {"risk/train.jsonl": rows, "risk/dev.jsonl": rows, "risk/test.jsonl": ["bad", *rows]}
    path = write(files, task={"data": {"on_bad_row": "skip"}})
    assert [re.sub(r"(jsonl:\d+): .*", r"\1", line) for line in printed(path, capsys)] == [
        "risk: train, dev, test: 1 row without a label for this task (not used)",
        f"risk: test: 1 row skipped as bad, first {path.parent}/risk/test.jsonl:1",
    ]


def test_rows_that_a_reader_excludes_are_one_line_without_zero_counts(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = "T1\tDrug 0 7\taspirin\nT2\tRace 8 17\tincreases\nT3\tAge 18 22\trisk\nT4\tAge 8 17\tincreases\n"
    files = {
        f"brat/{split}/d{n}.{suffix}": text
        for split in ("train", "dev")
        for n in range(2)
        for suffix, text in (("txt", f"aspirin increases risk {n}"), ("ann", ann))
    }
    path = write()
    for name, text in files.items():
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_text(text)
    path = write(task={**TAGGING, "data": {"reader": "brat", "path": "brat", "types": {"Drug": "Drug"}}})
    assert printed(path, capsys) == [
        "risk: no test split, so no test scores are reported",
        "risk: train, dev: excluded by the reader: T Age 4, T Race 2",
        "risk: 100.0% of the 2 mentions of dev are seen in train, and 0.0% are ambiguous there",
    ]


def test_labels_without_an_example_in_train_and_labels_that_are_probably_one_are_named(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ["yes", "no", "No ", "maybe"]
    rows = [{"text": f"risk {n}", "label": labels[n % 3]} for n in range(6)]
    assert printed(write(rows=lambda size: rows, task={"labels": labels}), capsys) == [
        "risk: train has no example of 'maybe'",
        "risk: the labels 'no', 'No ' differ only in case or blanks; rename them if they are one",
    ]


def test_a_plan_without_loss_has_no_notes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(write(), capsys) == []


def test_names_in_square_brackets_are_printed_unchanged(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    def rows(size: int) -> list[dict[str, Any]]:
        return [{"text": f"risk {n}", "label": ["[red]", "[/x]"][n % 2]} for n in range(size)]

    assert main(["check", str(write(rows=rows, task={"labels": ["[red]", "[/x]"]}, name="[b]small"))]) == 0
    shown = capsys.readouterr().out
    assert "[red] 4, [/x] 4" in shown
    assert "[b]small: encoder" in shown


def test_what_a_reader_adjusts_and_what_cannot_be_found_is_in_the_plan(write: Write, capsys: Any) -> None:
    rows = [
        {"text": "aspirin given", "entities": [{"id": "T1", "type": "Drug", "spans": [[0, 8]]}]},
        {"text": "no \u200b aspirin", "entities": [{"id": "T1", "type": "Drug", "spans": [[3, 4]]}]},
        {"text": "no aspirin here", "entities": [{"id": "T1", "type": "Drug", "spans": [[4, 11]]}]},
    ]
    path = write({"risk/train.jsonl": rows}, task=TAGGING, rows=tagged)
    found, plan = check(path)
    assert found == []
    train = plan["tasks"]["risk"]["splits"]["train"]
    assert list(train["adjusted"].values()) == [2]
    assert (train["notes"]["unreachable"], train["notes"]["off_by_one"]) == (2, 1)
    assert main(["check", str(path)]) == 0
    assert "unreachable 2" in capsys.readouterr().out


@pytest.mark.parametrize(("shift", "is_said"), [(0, False), (1, True)])
def test_offsets_that_count_from_one_are_recognised(write: Write, capsys: Any, shift: int, is_said: bool) -> None:
    rows = [
        {"text": f"aspirin and {n} mg", "entities": [{"id": "T1", "type": "Drug", "spans": [[shift, 7 + shift]]}]}
        for n in range(9)
    ]
    path = write({"risk/train.jsonl": rows}, task=TAGGING, rows=tagged)
    assert main(["check", str(path)]) == 0
    assert ("offsets count from 0" in capsys.readouterr().out) is is_said


def test_mentions_in_parts_and_overlapping_ones_are_in_the_plan(write: Write, capsys: Any) -> None:
    parts = {"id": "T1", "type": "Drug", "spans": [[0, 3], [8, 15]]}
    row = {"text": "no risk aspirin", "entities": [parts, {"id": "T2", "type": "Drug", "spans": [[8, 15]]}]}
    files = {"risk/train.jsonl": [row] * 2}
    path = write(files, task=dict(TAGGING), rows=tagged)
    assert check(path)[1]["tasks"]["risk"]["splits"]["train"]["noted"] == {KEPT: 2, OVERLAPPING: 4}
    assert f"mentions: {KEPT} 2, {OVERLAPPING} 4" in " ".join(printed(path, capsys))
    path = write(files, task={**TAGGING, "data": {"discontinuous": "split"}}, rows=tagged)
    train = check(path)[1]["tasks"]["risk"]["splits"]["train"]
    assert (train["noted"], train["labels"]) == ({OVERLAPPING: 4}, {"Drug": 6})


def test_tokens_that_the_vocabulary_lacks_are_counted(write: Write, capsys: Any) -> None:
    rows = [{**row, "text": f"{row['text']} Ω⚕"} for row in classified(3)]
    path = write({"risk/dev.jsonl": rows})
    found, plan = check(str(path))
    assert found == []
    splits = plan["tasks"]["risk"]["splits"]
    assert (splits["train"]["unknown_tokens"], splits["dev"]["unknown_tokens"]) == (0, 3)
    assert splits["dev"]["tokens"] > 3
    main(["check", str(path)])
    assert "3 tokens" in capsys.readouterr().out


def test_texts_with_several_labels_are_counted(write: Write, capsys: Any) -> None:
    rows = [{"text": "aspirin", "label": label} for label in ("low", "high", "low")]
    path = write({"risk/train.jsonl": [*rows, {"text": "risk", "label": "low"}]})
    _, plan = check(path)
    counts = {split: content["contradictory"] for split, content in plan["tasks"]["risk"]["splits"].items()}
    assert counts == {"train": 1, "dev": 0, "test": 0}
    assert main(["check", str(path)]) == 0
    assert "several different labels" in capsys.readouterr().out


def test_several_label_columns_of_a_table_are_several_tasks(write: Write) -> None:
    table = "note,first,second\n" + "".join(f"aspirin {n},low,{'high' if n % 2 else ''}\n" for n in range(8))
    files = {f"risk/{split}.csv": table.replace("aspirin", split) for split in ("train", "dev", "test")}
    path = write(files, task={"data": {"reader": "table", "columns": {"text": "note", "label": "first"}}})
    fields = yaml.safe_load(path.read_text())
    other = {"head": "classification", "labels": ["low", "high"], "same_rows_as": "risk"}
    fields["tasks"]["other"] = {**other, "data": {"columns": {"label": "second"}}}
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    found, plan = check(path)
    assert found == []
    labels = {name: task["splits"]["train"]["labels"] for name, task in plan["tasks"].items()}
    assert labels == {"risk": {"low": 8, "high": 0}, "other": {"low": 0, "high": 4}}


def test_the_plan_has_the_mentions_that_train_knows(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    def row(text: str, *words: str) -> dict[str, Any]:
        spans = [[text.index(word), text.index(word) + len(word)] for word in words]
        return {"text": text, "entities": [{"id": f"T{n}", "type": "Drug", "spans": [s]} for n, s in enumerate(spans)]}

    files = {
        "risk/train.jsonl": [row("aspirin and warfarin", "aspirin"), row("ibuprofen", "ibuprofen")],
        "risk/test.jsonl": [row("ASPIRIN, warfarin", "ASPIRIN", "warfarin"), row("heparin or aspirin", "aspirin")],
    }
    path = write(files, task=TAGGING, rows=tagged)
    splits = plan(path)["tasks"]["risk"]["splits"]
    assert "surfaces" not in splits["train"]
    expected = {"mentions": 3, "seen": 2, "ambiguous": 1, "other_type": 0, "unlabelled": 1}
    assert splits["test"]["surfaces"] == expected
    assert splits["dev"]["surfaces"] == {**expected, "mentions": 4, "seen": 4, "ambiguous": 0, "unlabelled": 0}
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "risk: 66.7% of the 3 mentions of test are seen in train, and 33.3% are ambiguous there" in lines

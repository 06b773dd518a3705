"""What splits share, counted on rows made for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from mtl.commands.check import check
from mtl.config.mixture import DataSpec
from mtl.data.examples import SplitData, TaskData
from mtl.data.leakage import SHORTEST, Crossing, crossing
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.problems import Problem


def _checked(
    folder: Path, encoder: Path, splits: dict[str, list[dict[str, Any]]]
) -> tuple[list[Problem], dict[str, Any]]:
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": str(folder)}}
    return check({"name": "m", "encoder": {"name": str(encoder), "max_length": 32}, "tasks": {"t": task}})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_rows_and_documents_of_a_later_split_that_an_earlier_one_holds_are_counted(
    tmp_path: Path, tiny_encoder: Any
) -> None:
    def row(text: str, document: str | None = None) -> dict[str, Any]:
        return {"text": text, "label": "a"} | ({} if document is None else {"document": document})

    splits = {
        "train": [row("Aspirin helps.", "d1"), row("Fever fell.", "d2"), row("No change.")],
        "dev": [row("aspirin HELPS", "d3"), row("New text.", "d2")],
        "test": [row("Something else."), row("Another one.")],
    }
    problems, plan = _checked(tmp_path, tiny_encoder("bert"), splits)
    assert problems == []
    assert plan["tasks"]["t"]["shared"] == {"dev in train": {"documents": 1, "texts": 1}}


@pytest.mark.usefixtures("cache")
def test_ids_that_only_number_the_rows_are_no_documents(tmp_path: Path, tiny_encoder: Any) -> None:
    splits = {s: [{"id": "1", "text": f"Text of {s}.", "label": "a"}] for s in ("train", "dev", "test")}
    _, plan = _checked(tmp_path, tiny_encoder("bert"), splits)
    assert plan["tasks"]["t"]["shared"] == {}


# --- between tasks ----------------------------------------------------------------------------------------------------


class Tasks:
    """Tasks whose rows are written down: id, document, text, and the second text of a pair."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.data: dict[str, TaskData] = {}

    def add(self, name: str, **splits: Sequence[tuple[str, ...]]) -> None:
        path = self._folder / name
        path.mkdir()
        for split in ("train", "dev", "test"):
            rows = [dict(zip(("id", "document", "text", "text_pair"), r, strict=False)) for r in splits.get(split, [])]
            (path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        tables = read_rows(DataSpec(reader="jsonl", path=str(path)), "data", Store(self._folder / "cache"))
        self.data[name] = {s: SplitData(*tables[s], cast(Any, None), cast(Any, None)) for s in splits}


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path)


LONG = "Aspirin lowered the risk of stroke in older patients."
OTHER = "Nothing of the kind was seen among the younger ones."


def test_a_text_of_a_target_in_a_partners_train_names_the_partners_documents(tasks: Tasks) -> None:
    tasks.add(
        "one",
        train=[("1", "a", "Only here.")],
        dev=[("2", "b", "Fever fell."), ("3", "b", "Clean.")],
        test=[("4", "c", "A rash."), ("5", "d", "a RASH"), ("6", "e", "Clean, too.")],
    )
    tasks.add(
        "two",
        train=[("1", "p", "FEVER fell!"), ("2", "p", "More."), ("3", "q", "A rash?"), ("4", "r", "A rash.")],
        dev=[("5", "s", "Unseen."), ("6", "t", "Clean.")],
    )
    assert crossing(tasks.data) == [
        Crossing("one", "two", "dev", ("p",), 1),
        Crossing("one", "two", "test", ("q", "r"), 2),
    ]


def test_both_directions_and_every_partner_are_told_apart(tasks: Tasks) -> None:
    tasks.add("one", train=[("1", "a", LONG)], dev=[("2", "b", OTHER)])
    tasks.add("two", train=[("1", "c", OTHER)], dev=[("2", "d", LONG)])
    tasks.add("three", train=[("1", "e", OTHER)], test=[("2", "f", LONG)])
    assert crossing(tasks.data) == [
        Crossing("one", "two", "dev", ("c",), 1),
        Crossing("one", "three", "dev", ("e",), 1),
        Crossing("two", "one", "dev", ("a",), 1),
        Crossing("three", "one", "test", ("a",), 1),
    ]
    assert crossing({"one": tasks.data["one"]}) == []


def test_what_a_task_shares_with_itself_or_with_the_dev_of_another_does_not_cross(tasks: Tasks) -> None:
    tasks.add("one", train=[("1", "a", LONG)], dev=[("2", "a", LONG)])
    tasks.add("two", train=[("1", "b", OTHER)], dev=[("2", "a", "Quite another.")], test=[("3", "c", OTHER)])
    assert crossing(tasks.data) == []


def test_an_id_alone_does_not_cross(tasks: Tasks) -> None:
    tasks.add("one", train=[("x", "1", "One.")], dev=[("1", "12", LONG)])
    tasks.add("two", train=[("y", "12", OTHER)], dev=[("z", "1", "Two.")])
    assert crossing(tasks.data) == []


@pytest.mark.parametrize("whole_is_target", [True, False])
def test_an_id_crosses_where_one_text_holds_another(tasks: Tasks, whole_is_target: bool) -> None:
    whole, parts = [("12", "12", f"{OTHER} {LONG}")], [("s1", "12", "Short."), ("s2", "12", LONG.upper())]
    scored, trained = (whole, parts) if whole_is_target else (parts, whole)
    tasks.add("one", train=[("1", "x", "Elsewhere.")], test=scored)
    tasks.add("two", train=[*trained, ("2", "13", LONG[:-9])], dev=[("9", "y", "Elsewhere, too.")])
    assert crossing(tasks.data) == [Crossing("one", "two", "test", ("12",), 0)]


def test_a_text_too_short_to_mean_anything_is_not_looked_for_inside_another(tasks: Tasks) -> None:
    tasks.add("one", train=[("1", "x", "Elsewhere.")], dev=[("2", "12", LONG)])
    tasks.add("two", train=[("3", "12", "the risk of stroke")], dev=[("4", "y", "Elsewhere, too.")])
    assert crossing(tasks.data) == []
    assert sum(letter.isalnum() for letter in "the risk of stroke") == SHORTEST - 5
    tasks.add("three", train=[("3", "12", "the risk of stroke in older")], dev=[("4", "y", "Elsewhere, once more.")])
    assert crossing(tasks.data) == [Crossing("one", "three", "dev", ("12",), 0)]


def test_a_pair_crosses_by_both_texts_and_an_empty_text_by_none(tasks: Tasks) -> None:
    tasks.add("one", train=[("1", "x", "x")], dev=[("2", "a", LONG, OTHER), ("3", "b", "...")])
    tasks.add("two", train=[("1", "p", LONG), ("2", "q", LONG, "Another."), ("3", "r", "?!")], dev=[("4", "y", "y")])
    assert crossing(tasks.data) == []
    tasks.add("three", train=[("1", "p", LONG, OTHER)], dev=[("2", "z", "z")])
    assert crossing(tasks.data) == [Crossing("one", "three", "dev", ("p",), 1)]


def test_nothing_crosses_any_more_once_the_documents_are_excluded(tasks: Tasks, tmp_path: Path) -> None:
    tasks.add("one", train=[("1", "x", "x")], dev=[("2", "12", LONG)], test=[("3", "13", OTHER)])
    tasks.add(
        "two",
        train=[("1", "12", f"{LONG} And so on."), ("2", "p", OTHER), ("3", "q", "Stays."), ("4", "q", "As well.")],
        dev=[("4", "y", "y")],
    )
    found = crossing(tasks.data)
    gone = [document for one in found for document in one.documents]
    assert gone == ["12", "p"]
    spec = DataSpec(reader="jsonl", path=str(tmp_path / "two"), exclude=tuple(gone))
    table, summary = read_rows(spec, "data", Store(tmp_path / "cache"))["train"]
    rest = {**tasks.data["two"], "train": SplitData(table, summary, cast(Any, None), cast(Any, None))}
    assert [row.document for row in table] == ["q", "q"]
    assert crossing({**tasks.data, "two": rest}) == []

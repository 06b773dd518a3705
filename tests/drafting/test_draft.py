from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands import run as run_mtl
from mtl.commands.check import check
from mtl.drafting.draft import division_of, draft_tasks
from mtl.drafting.guess import guess
from mtl.problems import InputError

SECRET = "Xylophonia"


def notes(number: int = 30) -> list[str]:
    return [f"Patient {index} was seen on day {index * 7}, {SECRET} suspected." for index in range(number)]


def write_csv(path: Path, header: str | None, rows: list[str]) -> Path:
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def a_csv(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f'{index},"{note}",{"sick" if index % 3 else "well"}' for index, note in enumerate(notes())]
    return write_csv(folder / "notes.csv", "nr,note,status", rows), {"notes": "classification"}


def a_csv_from_excel(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f"{note.replace(',', '')};{index / 7:.2f}" for index, note in enumerate(notes())]
    return write_csv(folder / "Scores 2026.csv", "note;score", rows), {"scores_2026": "regression"}


def a_table_without_header(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [f"{note}\t{'ab'[index % 2]}" for index, note in enumerate(notes())]
    return write_csv(folder / "plain.txt", None, rows), {"plain": "classification"}


def lists_in_a_table(folder: Path) -> tuple[Path, dict[str, str]]:
    kinds = ["heart", "heart|lung", "lung", "lung|skin", "skin|heart"]
    rows = [f'"{note}",{kinds[index % 5]}' for index, note in enumerate(notes())]
    return write_csv(folder / "topics.csv", "text,labels", rows), {"topics": "multilabel"}


def json_lines(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = [{"sentence": f"Again: {note}", "gold": "yn"[index % 2], "nurse": "A"} for index, note in enumerate(notes())]
    return write_jsonl(folder / "rows.jsonl", rows), {"rows": "classification"}


def json_mentions(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = []
    for index, note in enumerate(notes()):
        start = note.index(SECRET)
        entities = [
            {"id": "T1", "type": "Finding", "spans": [[start, start + len(SECRET)]]},
            {"id": "T2", "type": "Person", "spans": [[0, 7]]},
        ]
        relations = [{"head": "T1", "tail": "T2", "type": "of"}] if index % 2 else []
        rows.append({"id": str(index), "text": note, "entities": entities, "relations": relations})
    return write_jsonl(folder / "found.jsonl", rows), {"found": "token_classification", "found_relations": "relation"}


def mentions_with_attributes(folder: Path) -> tuple[Path, dict[str, str]]:
    rows = []
    for index, note in enumerate(notes()):
        start = note.index(SECRET)
        grade = {"grade": ("high", "low")[index % 2]} | ({"is negated": "true"} if index % 3 else {})
        found = {"id": "T1", "type": "Finding", "spans": [[start, start + len(SECRET)]], "attributes": grade}
        rows.append({"id": str(index), "text": note, "entities": [found, {"id": "T2", "type": "P", "spans": [[0, 7]]}]})
    head = "mention_classification"
    expected = {"graded": "token_classification", "graded_grade": head, "graded_is_negated": head}
    return write_jsonl(folder / "graded.jsonl", rows), expected


def tagged_words(folder: Path) -> tuple[Path, dict[str, str]]:
    lines = [f"Day O\n{index} O\n{SECRET} B-Finding\n" for index in range(30)]
    (folder / "words.conll").write_text("\n".join(lines))
    return folder / "words.conll", {"words": "token_classification"}


def brat_files(folder: Path) -> tuple[Path, dict[str, str]]:
    (folder / "annotated").mkdir()
    for index, note in enumerate(notes()):
        start = note.index(SECRET)
        (folder / "annotated" / f"{index}.txt").write_text(note)
        mention = f"T1\tFinding {start} {start + len(SECRET)}\t{SECRET}\n"
        (folder / "annotated" / f"{index}.ann").write_text(mention)
    return folder / "annotated", {"annotated": "token_classification"}


def pubtator_file(folder: Path) -> tuple[Path, dict[str, str]]:
    blocks = [
        f"{index}|t|{SECRET} today.\n{index}|a|None.\n{index}\t0\t10\t{SECRET}\tDisease\tD1\n" for index in range(30)
    ]
    (folder / "abstracts.PubTator").write_text("\n".join(blocks))
    return folder / "abstracts.PubTator", {"abstracts": "token_classification"}


def a_folder_of_splits(folder: Path) -> tuple[Path, dict[str, str]]:
    (folder / "triage").mkdir()
    for split, number in (("train", 20), ("test", 8)):
        rows = [f'"{split} {note}",{"ab"[index % 2]}' for index, note in enumerate(notes(number))]
        write_csv(folder / "triage" / f"{split}.csv", "text,label", rows)
    return folder / "triage", {"triage": "classification"}


FILES = [
    a_csv,
    a_csv_from_excel,
    a_table_without_header,
    lists_in_a_table,
    json_lines,
    json_mentions,
    mentions_with_attributes,
    tagged_words,
    brat_files,
    pubtator_file,
    a_folder_of_splits,
]


@pytest.fixture
def encoder(tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(tiny_encoder("bert"))


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_a_drafted_mixture_has_the_head_of_its_labels_and_passes_check(
    make: Any, tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, heads = make(tmp_path)
    assert run_mtl(["init", str(path), "--output", "drafted.yaml", "--encoder", encoder]) == 0
    text = (tmp_path / "drafted.yaml").read_text()
    tasks = yaml.safe_load(text)["tasks"]
    assert {name: task["head"] for name, task in tasks.items()} == heads
    assert all(not Path(task["data"]["path"]).is_absolute() for task in tasks.values())
    problems, plan = check("drafted.yaml")
    assert problems == []
    assert set(plan["tasks"]) == set(heads)
    captured = capsys.readouterr()
    assert SECRET not in text + captured.out + captured.err


def test_several_files_become_the_tasks_of_one_mixture(tmp_path: Path, encoder: str) -> None:
    files = [str(make(tmp_path)[0]) for make in (a_csv, json_lines, tagged_words)]
    assert run_mtl(["init", *files, "--name", "ward", "--encoder", encoder]) == 0
    problems, plan = check("ward.yaml")
    assert (problems, list(plan["tasks"])) == ([], ["notes", "rows", "words"])


def test_labels_that_may_be_texts_are_not_in_comments(tmp_path: Path) -> None:
    rows = [f'"{note}",{SECRET} of the {"left" if index % 2 else "right"} arm' for index, note in enumerate(notes())]
    (task,) = draft_tasks(write_csv(tmp_path / "n.csv", "text,label", rows), "n")
    assert not any(SECRET in comment for comment in task.comments)


def test_existing_files_are_kept(tmp_path: Path, encoder: str) -> None:
    path, _ = a_csv(tmp_path)
    (tmp_path / "notes.yaml").write_text("mine")
    assert run_mtl(["init", str(path), "--encoder", encoder]) == 2
    assert (tmp_path / "notes.yaml").read_text() == "mine"
    assert run_mtl(["init", str(path), "--encoder", encoder, "--force"]) == 0


def test_all_problems_are_reported_at_once_with_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "binary.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "broken.jsonl").write_text('{"text": "a b c d"}\n{"text": \n')
    write_csv(tmp_path / "unlabelled.csv", "text", [f'"{note}"' for note in notes()])
    files = ["missing.csv", "empty.csv", "numbers.csv", "binary.bin", "broken.jsonl", "unlabelled.csv"]
    assert run_mtl(["init", *(str(tmp_path / name) for name in files), "--output", str(tmp_path / "x.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(files)
    assert all(name in line for name, line in zip(files, lines, strict=True))
    assert not (tmp_path / "x.yaml").exists()
    assert SECRET not in "".join(lines)


def test_divisions_give_the_splits_that_are_missing() -> None:
    assert division_of({"train": [], "dev": [], "test": []}) is None
    assert division_of({"train": [], "dev": []}) is None
    assert division_of({"train": [], "test": []}) == {"fractions": {"train": 0.9, "dev": 0.1}}
    assert division_of({"train": []}) == {"fractions": {"train": 0.8, "dev": 0.1, "test": 0.1}}


def test_public_data_sets_are_recognised(data_folder: Path) -> None:
    found = {path: guess(data_folder / path).reader for path in ("ncbi_disease", "biosses/blurb")}
    assert found == {"ncbi_disease": "conll", "biosses/blurb": "table"}


def test_a_folder_without_splits_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError):
        guess(tmp_path / "x")

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from heads.rows import Row, TextRow
from mtl.commands import run as run_mtl
from mtl.data.splits import SplitRule, assign
from mtl.drafting.draft import division_of, draft_tasks
from mtl.planning.mixture_check import check
from mtl.problems import InputError
from tests.drafting import sample_files
from tests.drafting.sample_files import FILES, SECRET, notes, write_csv, write_jsonl


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
    paths = [task["data"]["path"] for task in tasks.values() if "same_rows_as" not in task]
    assert not any(Path(path).is_absolute() for path in paths)
    problems, plan = check("drafted.yaml")
    assert [str(problem) for problem in problems] == []
    assert set(plan["tasks"]) == set(heads)
    captured = capsys.readouterr()
    assert SECRET not in text + captured.out + captured.err


def test_several_files_become_the_tasks_of_one_mixture(tmp_path: Path, encoder: str) -> None:
    makers = (sample_files.a_csv, sample_files.json_lines, sample_files.tagged_words)
    files = [str(make(tmp_path)[0]) for make in makers]
    assert run_mtl(["init", *files, "--name", "ward", "--encoder", encoder]) == 0
    problems, plan = check("ward.yaml")
    assert (problems, list(plan["tasks"])) == ([], ["notes", "rows", "words"])


# --- relations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (sample_files.pubtator_of_the_guide, {"level": "concept", "scope": "document"}),
        (sample_files.json_relations_of_concepts, {"level": "concept", "scope": "document"}),
        (sample_files.bioc_in_xml, {"level": "concept", "scope": "document"}),
        (sample_files.bioc_in_json, {}),
        (sample_files.json_mentions, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_relations_have_the_level_of_what_they_join(make: Any, expected: dict[str, str], tmp_path: Path) -> None:
    _, relations = draft_tasks(make(tmp_path)[0], "t")
    options = dict(relations.fields["options"])
    pairs = options.pop("pairs")
    assert options == {"negative": "none", **expected}
    assert pairs in ([["Chemical", "Disease"]], [["Finding", "Person"]])
    assert "on_bad_row" not in relations.fields["data"]


def test_rows_whose_relations_join_something_else_are_skipped_and_counted(tmp_path: Path) -> None:
    entities, relations = draft_tasks(sample_files.json_relations_of_both_kinds(tmp_path)[0], "t")
    assert relations.fields["options"]["level"] == "concept"
    assert relations.fields["data"]["on_bad_row"] == "skip"
    assert "on_bad_row" not in entities.fields["data"]
    assert any(comment.startswith("8 rows") for comment in relations.comments)


def test_relations_that_no_task_reads_are_a_comment(tmp_path: Path) -> None:
    mixed = {"head": "1", "tail": "D2", "type": "CID"}
    rows = [
        {
            "text": sample_files.ABSTRACT,
            "entities": [sample_files.CHEMICAL, sample_files.DISEASE],
            "relations": [mixed, {"head": "1", "tail": "D2"}],
        }
    ]
    (entities,) = draft_tasks(write_jsonl(tmp_path / "r.jsonl", rows), "t")
    assert any("relations" in comment for comment in entities.comments)


def test_a_relation_of_the_type_none_is_the_negative_class(tmp_path: Path) -> None:
    rows = [
        {
            "text": sample_files.ABSTRACT,
            "entities": [sample_files.CHEMICAL, sample_files.DISEASE],
            "relations": [{"head": "1", "tail": "2", "type": kind}],
        }
        for kind in ("CID", "none")
    ]
    _, relations = draft_tasks(write_jsonl(tmp_path / "r.jsonl", rows), "t")
    assert relations.fields["labels"] == ["CID", "none"]


# --- columns of labels ------------------------------------------------------------------------------------------------


def test_each_column_of_labels_becomes_a_task_on_the_same_rows(tmp_path: Path) -> None:
    first, *others = draft_tasks(sample_files.several_columns_of_labels(tmp_path)[0], "ward")
    assert first.fields["data"]["columns"] == {"text": "note", "label": "score"}
    assert [task.name for task in others] == ["ward_status", "ward_topics"]
    assert [task.fields["same_rows_as"] for task in others] == ["ward_score", "ward_score"]
    assert [task.fields["labels"] for task in others] == [["sick", "well"], ["heart", "lung", "skin"]]
    assert [task.fields["data"] for task in others] == [
        {"columns": {"label": "status"}, "label_type": "text"},
        {"columns": {"label": "topics"}, "label_type": "list", "label_separator": ";"},
    ]
    assert first.comments[-1].endswith("'nr', 'age'.")


def test_each_key_of_labels_ignores_the_others(tmp_path: Path) -> None:
    first, other = draft_tasks(sample_files.several_keys_of_labels(tmp_path)[0], "visits")
    assert first.fields["data"]["ignore"] == ["severity", "nurse", "seen"]
    assert other.fields["data"] == {"columns": {"label": "severity"}, "ignore": ["gold", "nurse", "seen"]}


@pytest.mark.parametrize("stem", ["2024_notes", "Ärztebriefe 2024", "values", "123", "…"])
def test_files_with_any_name_give_tasks_that_check_accepts(tmp_path: Path, encoder: str, stem: str) -> None:
    path, _ = sample_files.a_csv(tmp_path)
    path = path.rename(tmp_path / f"{stem}.csv")
    assert run_mtl(["init", str(path), "--output", "drafted.yaml", "--encoder", encoder]) == 0
    problems, _ = check("drafted.yaml")
    assert [str(problem) for problem in problems] == []
    assert "mtl check drafted.yaml" in (tmp_path / "drafted.yaml").read_text()


def test_decimal_commas_are_numbers(tmp_path: Path, encoder: str) -> None:
    path = write_csv(tmp_path / "n.csv", "text;score", [f'"{note}";{n % 7},5' for n, note in enumerate(notes())])
    assert run_mtl(["init", str(path), "--output", "drafted.yaml", "--encoder", encoder]) == 0
    (task,) = yaml.safe_load((tmp_path / "drafted.yaml").read_text())["tasks"].values()
    assert (task["head"], task["options"]) == ("regression", {"range": [0, 7]})
    assert (task["data"]["delimiter"], task["data"]["label_type"], task["data"]["decimal"]) == (";", "number", ",")
    assert check("drafted.yaml")[0] == []


@pytest.mark.parametrize(("bad", "is_drafted"), [(1, True), (3, True), (4, False), (30, False)])
def test_a_few_bad_rows_are_skipped_and_named(bad: int, *, is_drafted: bool, tmp_path: Path, encoder: str) -> None:
    rows = [f'"{note}",{n % 2}' for n, note in enumerate(notes(30))] + [f'"{note}",1,{SECRET}' for note in notes(bad)]
    path = write_csv(tmp_path / "n.csv", "text,urgent", rows)
    done = run_mtl(["init", str(path), "--output", "drafted.yaml", "--encoder", encoder])
    assert done == (0 if is_drafted else 2)
    if is_drafted:
        text = (tmp_path / "drafted.yaml").read_text()
        assert f"{path}:32: " in text
        assert SECRET not in text
        (task,) = yaml.safe_load(text)["tasks"].values()
        assert task["data"]["on_bad_row"] == "skip"
        problems, plan = check("drafted.yaml")
        assert problems == []
        assert sum(split["used"] for split in plan["tasks"]["n"]["splits"].values()) == 30


def test_many_classes_are_a_comment_that_asks_whether_they_are_numbers(tmp_path: Path) -> None:
    rows = [f'"{note}",{"NA" if n == 3 else n / 8}' for n, note in enumerate(notes(200))]
    (task,) = draft_tasks(write_csv(tmp_path / "n.csv", "text,score", rows), "n")
    assert any("200 classes" in comment for comment in task.comments)


def test_a_header_that_repeats_a_name_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns 2, 3"):
        draft_tasks(write_csv(tmp_path / "n.csv", "text,label,label", [f'"{note}",a,b' for note in notes()]), "n")


def test_columns_that_cannot_be_learned_are_named(tmp_path: Path) -> None:
    """One has a word among its numbers after the rows that are looked at, one hardly any values, one a single one."""
    rows = [
        f'"{note}",{n % 30 / 4},{"yn"[n % 2] if n < 20 else ""},same,{"ab"[n % 2]}' for n, note in enumerate(notes(600))
    ]
    rows.append('"One more note on the ward.",unknown,,same,a')
    (task,) = draft_tasks(write_csv(tmp_path / "n.csv", "text,dose,rare,same,label", rows), "n")
    assert task.fields["head"] == "classification"
    assert task.comments[-1].endswith("'same', 'dose', 'rare'.")


@pytest.mark.parametrize(("labelled", "number"), [(34, 2), (20, 1)])
def test_a_column_that_lacks_some_labels_is_a_task_of_its_own(labelled: int, number: int, tmp_path: Path) -> None:
    rows = [f'"{note}",{"yn"[n % 2] if n < labelled else ""},{"ab"[n % 2]}' for n, note in enumerate(notes(40))]
    assert len(draft_tasks(write_csv(tmp_path / "n.csv", "text,outcome,label", rows), "n")) == number


def test_columns_of_what_may_be_a_row_are_counted(tmp_path: Path) -> None:
    rows = [f'"{note}",{"ab"[n % 2]},{n}' for n, note in enumerate(notes())]
    (task,) = draft_tasks(write_csv(tmp_path / "n.csv", f"finding,kind,{SECRET}", rows), "n")
    assert not any(SECRET in comment for comment in task.comments)
    assert "1 column" in task.comments[-1]


def test_labels_that_are_all_the_same_are_a_problem(tmp_path: Path) -> None:
    rows = [f'"{note}",sick' for note in notes()]
    with pytest.raises(InputError):
        draft_tasks(write_csv(tmp_path / "n.csv", "text,label", rows), "n")


def test_whole_numbers_of_many_kinds_are_a_scale_in_any_format(tmp_path: Path) -> None:
    rows = [{"text": note, "score": n % 20} for n, note in enumerate(notes())]
    (task,) = draft_tasks(write_jsonl(tmp_path / "n.jsonl", rows), "n")
    assert (task.fields["head"], task.fields["options"]) == ("regression", {"range": [0, 19]})


def test_labels_that_may_be_texts_are_not_in_comments(tmp_path: Path) -> None:
    rows = [f'"{note}",{SECRET} of the {"left" if index % 2 else "right"} arm' for index, note in enumerate(notes())]
    (task,) = draft_tasks(write_csv(tmp_path / "n.csv", "text,label", rows), "n")
    assert not any(SECRET in comment for comment in task.comments)


# --- files ------------------------------------------------------------------------------------------------------------


def test_existing_files_are_kept(tmp_path: Path, encoder: str) -> None:
    path, _ = sample_files.a_csv(tmp_path)
    (tmp_path / "notes.yaml").write_text("mine")
    assert run_mtl(["init", str(path), "--encoder", encoder]) == 2
    assert (tmp_path / "notes.yaml").read_text() == "mine"
    assert run_mtl(["init", str(path), "--encoder", encoder, "--force"]) == 0


def test_all_problems_are_reported_at_once_with_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "binary.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "broken.jsonl").write_text('{"text": "a b c d"}\n{"text": \n')
    (tmp_path / "page.xml").write_text("<html></html>")
    write_csv(tmp_path / "unlabelled.csv", "text", [f'"{note}"' for note in notes()])
    files = ["missing.csv", "empty.csv", "numbers.csv", "binary.bin", "broken.jsonl", "page.xml", "unlabelled.csv"]
    assert run_mtl(["init", *(str(tmp_path / name) for name in files), "--output", str(tmp_path / "x.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(files)
    assert all(name in line for name, line in zip(files, lines, strict=True))
    assert not (tmp_path / "x.yaml").exists()
    assert SECRET not in "".join(lines)


def rows(number: int) -> list[Row]:
    return [TextRow(str(index), str(index), "A note.") for index in range(number)]


def test_divisions_give_the_splits_that_are_missing() -> None:
    assert division_of({"train": rows(20), "dev": [], "test": []}) is None
    assert division_of({"train": rows(20), "dev": []}) is None
    assert division_of({"train": rows(20), "test": []}) == {"fractions": {"train": 0.9, "dev": 0.1}}
    assert division_of({"train": rows(20)}) == {"fractions": {"train": 0.8, "dev": 0.1, "test": 0.1}}


@pytest.mark.parametrize("number", range(2, 30))
@pytest.mark.parametrize("others", [{}, {"test": rows(2)}], ids=["alone", "beside_test"])
def test_divisions_leave_no_split_empty(number: int, others: dict[str, list[Row]]) -> None:
    division = division_of({"train": rows(number), **others})
    assert division is not None
    made = assign(rows(number), SplitRule(**division))
    assert {"train", "dev"} <= set(made.num_rows)
    assert min(made.num_rows.values()) > 0


def test_ids_that_repeat_are_documents(tmp_path: Path, encoder: str) -> None:
    rows = [f'P{n // 2},"{note}",{"sick" if n % 3 else "well"}' for n, note in enumerate(sample_files.notes())]
    path = sample_files.write_csv(tmp_path / "ward.csv", "id,text,label", rows)
    assert run_mtl(["init", str(path), "--output", "drafted.yaml", "--encoder", encoder]) == 0
    problems, plan = check("drafted.yaml")
    assert problems == []
    splits = plan["tasks"]["ward"]["splits"].values()
    assert sum(split["used"] for split in splits) == 2 * sum(split["documents"] for split in splits) == len(rows)


def test_rows_of_one_patient_stay_together_whatever_the_column_is_called(tmp_path: Path) -> None:
    rows = [f'P{n % 7},"{note}",{"sick" if n % 3 else "well"}' for n, note in enumerate(sample_files.notes())]
    path = sample_files.write_csv(tmp_path / "ward.csv", "Patient-Nr,note,status", rows)
    (task,) = draft_tasks(path, "ward")
    assert task.fields["data"]["columns"] == {"document": "Patient-Nr", "text": "note", "label": "status"}

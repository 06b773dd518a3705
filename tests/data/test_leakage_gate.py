"""What the policies of a mixture make of planted overlaps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mtl.config.loading import load_mixture
from mtl.config.mixture import LeakageSpec, Mixture
from mtl.data.examples import prepare
from mtl.data.leakage_gate import SHOWN_DOCUMENTS, SHOWN_OVERLAPS, Leakage, find_leakage
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.training.assembly import build_heads

SECRET = "Zyzzyva"
LONG = f"{SECRET} lowered the risk of stroke in older patients who had never smoked, but raised the risk of bleeding."
SENTENCE = f"{SECRET} was given to all of them."
KINDS = ("documents", "texts", "sentences", "containment")

# Task, split and rows (id, document, text). Each kind of overlap concerns documents of train of `two` of its own.
PLANTED: dict[str, dict[str, list[tuple[str, str, str]]]] = {
    "one": {
        "train": [("1", "a1", "Only here, one."), ("2", "a2", "Only here, two.")],
        "dev": [("3", "shared", "A part of this document."), ("4", "a3", "Fever fell.")],
        "test": [("5", "a4", f"{SENTENCE} Two days later, all was well.")],
    },
    "two": {
        "train": [
            ("1", "shared", "Another part."),
            ("2", "b1", "fever FELL"),
            ("3", "b2", f"All agreed! {SENTENCE} And so on."),
            ("4", "b3", "The same text within the task."),
            ("5", "b4", LONG),
            ("6", "b5", "Stays, one."),
            ("7", "b5", "Stays, two."),
        ],
        "dev": [("8", "b6", "The same text: within the task!"), ("9", "b7", "Clean.")],
        "test": [("10", "b8", f"It is not known whether {LONG[len(SECRET) :]}")],
    },
}
DOCUMENTS = {"documents": {"b1", "shared"}, "texts": {"b3"}, "sentences": {"b2", "b3"}, "containment": {"b4"}}
ERRORS = {"documents": 1, "texts": 1, "sentences": 2, "containment": 1}  # pairs of splits

Plant = Callable[..., Mixture]


@pytest.fixture
def plant(tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A function that writes rows of tasks and returns their mixture with a policy."""
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))

    def make(
        planted: Mapping[str, Mapping[str, Sequence[tuple[str, str, str]]]] = PLANTED,
        same_rows: Mapping[str, str] | None = None,
        **policy: str,
    ) -> Mixture:
        tasks: dict[str, Any] = {}
        for name, splits in planted.items():
            (tmp_path / name).mkdir(exist_ok=True)
            for split, rows in splits.items():
                lines = [
                    {"id": i, "document": d, "text": t, "label": ["no", "yes"][n % 2]}
                    for n, (i, d, t) in enumerate(rows)
                ]
                path = tmp_path / name / f"{split}.jsonl"
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            data = {"reader": "jsonl", "path": str(tmp_path / name)}
            tasks[name] = {"head": "classification", "labels": ["no", "yes"], "data": data}
            if name in (same_rows or {}):
                tasks[name]["same_rows_as"] = same_rows[name]
        encoder = {"name": str(tiny_encoder("bert")), "max_length": 32}
        return load_mixture({"name": "planted", "encoder": encoder, "tasks": tasks, "leakage": policy})

    return make


def everything(policy: str) -> dict[str, str]:
    return dict.fromkeys(KINDS, policy)


def train_documents(mixture: Mixture, task: str) -> list[str]:
    return [row.document for row in read_rows(mixture.tasks[task].data, "data", Store())["train"][0]]


def test_by_default_only_documents_and_texts_between_tasks_are_errors(plant: Plant) -> None:
    mixture = plant()
    assert mixture.leakage == LeakageSpec(documents="error", texts="warn", sentences="warn", containment="warn")
    leakage = find_leakage(mixture)
    (problem,) = leakage.problems()
    assert problem.key == "tasks.two"
    assert all(word in problem.message for word in ("'two'", "'one'", "dev", "1 document", "1 text", "b1, shared"))
    assert "leakage.documents" in problem.suggestion
    assert leakage.excluded == {}
    assert leakage.applied(mixture) == mixture


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_an_error(plant: Plant, kind: str) -> None:
    problems = find_leakage(plant(**{**everything("warn"), kind: "error"})).problems()
    assert len(problems) == ERRORS[kind]
    assert all(f"leakage.{kind}" in problem.suggestion for problem in problems)
    assert not any(SECRET.lower() in str(problem).lower() for problem in problems)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_exclude_the_documents_of_train_that_hold_it(plant: Plant, kind: str) -> None:
    mixture = plant(**{**everything("warn"), kind: "exclude"})
    leakage = find_leakage(mixture)
    assert leakage.problems() == []
    assert {task: set(documents) for task, documents in leakage.excluded.items()} == {"two": DOCUMENTS[kind]}
    assert leakage.num_excluded_rows == {"two": len(DOCUMENTS[kind])}
    left = train_documents(leakage.applied(mixture), "two")
    assert left == [document for document in train_documents(mixture, "two") if document not in DOCUMENTS[kind]]


def test_warnings_are_neither_errors_nor_exclusions_but_are_described_without_text(plant: Plant) -> None:
    leakage = find_leakage(plant(**everything("warn")))
    assert (leakage.problems(), leakage.excluded) == ([], {})
    notes = [note for task in PLANTED for note in leakage.notes_of(task)]
    assert len(notes) == len(leakage.overlaps) == 4
    assert not any(SECRET.lower() in note.lower() for note in notes)
    assert not any(document in note for note in notes for document in ("b1", "b2", "b3", "b4"))


def test_after_exclusion_nothing_is_left_and_only_rows_of_train_have_changed(plant: Plant) -> None:
    mixture = plant(**everything("exclude"))
    leakage = find_leakage(mixture)
    after = leakage.applied(mixture)
    assert find_leakage(after).overlaps == ()
    heads, tokenizer = build_heads(mixture)
    whole, rest = (prepare(one, heads, tokenizer) for one in (mixture, after))
    assert rest["two"]["train"].row_summary.excluded == 5
    assert [row.document for row in rest["two"]["train"].rows] == ["b5", "b5"]
    for name, split in (("one", "train"), ("one", "dev"), ("one", "test"), ("two", "dev"), ("two", "test")):
        before, now = whole[name][split], rest[name][split]
        assert before.row_summary == now.row_summary
        assert list(before.rows) == list(now.rows)


def test_exclusion_encodes_no_split_again_but_train_of_the_task_that_lost_rows(plant: Plant, tmp_path: Path) -> None:
    mixture = plant(**everything("exclude"))
    heads, tokenizer = build_heads(mixture)
    prepare(mixture, heads, tokenizer)
    before = set((tmp_path / "cache").rglob("*.arrow"))
    after = find_leakage(mixture).applied(mixture)
    compared = set((tmp_path / "cache").rglob("*.arrow")) - before
    assert len(compared) == 1  # the result of the comparison
    prepare(after, heads, tokenizer)
    made = set((tmp_path / "cache").rglob("*.arrow")) - before - compared
    assert len(made) == 3 + 1  # rows of the three splits of `two`, whose keys contain `exclude`; examples of train
    prepare(find_leakage(mixture).applied(mixture), heads, tokenizer)
    assert set((tmp_path / "cache").rglob("*.arrow")) == before | compared | made


def test_documents_that_the_mixture_excludes_itself_stay_excluded(plant: Plant) -> None:
    mixture = plant(**everything("exclude"))
    data = mixture.tasks["two"].data.model_copy(update={"exclude": ("b5",)})
    tasks = {**mixture.tasks, "two": mixture.tasks["two"].model_copy(update={"data": data})}
    leakage = find_leakage(mixture.model_copy(update={"tasks": tasks}))
    assert leakage.applied(mixture.model_copy(update={"tasks": tasks})).tasks["two"].data.exclude == (
        "b1",
        "b2",
        "b3",
        "b4",
        "b5",
        "shared",
    )


def test_a_train_that_would_be_empty_is_an_error(plant: Plant) -> None:
    planted = {
        "one": {"train": [("1", "a", "Here.")], "dev": [("2", "b", "Fever fell.")]},
        "two": {"train": [("1", "c", "Fever fell.")], "dev": [("2", "d", "There.")]},
    }
    leakage = find_leakage(plant(planted, documents="exclude"))
    assert [problem.key for problem in leakage.problems()] == ["tasks.two.data"]


def test_tasks_that_share_their_rows_are_one_and_lose_the_same_documents(plant: Plant) -> None:
    rows = {
        "train": [("1", "a", "Fever fell."), ("2", "b", "Stays.")],
        "dev": [("3", "c", "fever fell"), ("4", "d", "More.")],
    }
    mixture = plant({"one": rows, "two": rows}, {"two": "one"}, texts="exclude")
    leakage = find_leakage(mixture)
    assert [(o.task, o.other_task, o.counts["texts"]) for o in leakage.overlaps] == [("one", "one", 1)]
    assert leakage.problems() == []
    assert leakage.excluded == {"one": ("a",), "two": ("a",)}
    heads, tokenizer = build_heads(mixture)
    data = prepare(leakage.applied(mixture), heads, tokenizer)
    assert [len(data[task]["train"].rows) for task in ("one", "two")] == [1, 1]


def test_two_tasks_of_one_corpus_have_no_overlap_between_tasks(plant: Plant) -> None:
    rows = {
        "train": [("1", "a", "Fever fell."), ("2", "b", "Stays.")],
        "dev": [("3", "c", "fever fell"), ("4", "d", "More.")],
    }
    assert find_leakage(plant({"one": rows, "two": rows})).problems() == []
    leakage = find_leakage(plant({"one": rows, "two": rows}, texts="exclude"))
    assert leakage.excluded == {"one": ("a",), "two": ("a",)}


def test_test_in_dev_is_only_a_warning(plant: Plant) -> None:
    planted = {
        "one": {
            "train": [("1", "a", "Here.")],
            "dev": [("2", "b", LONG)],
            "test": [("3", "c", LONG)],
        }
    }
    for policy in ("error", "exclude"):
        leakage = find_leakage(plant(planted, **everything(policy)))
        assert (leakage.problems(), leakage.excluded) == ([], {})
        assert leakage.within("one") == {"test in dev": {"documents": 0, "texts": 1}}
        assert len(leakage.notes_of("one")) == 1


def test_another_policy_can_replace_that_of_the_mixture(plant: Plant) -> None:
    leakage = find_leakage(plant(), policy=LeakageSpec(documents="exclude"))
    assert leakage.problems() == []
    assert set(leakage.excluded["two"]) == DOCUMENTS["documents"]


def test_rows_that_cannot_be_read_are_left_to_the_reading_itself(plant: Plant, tmp_path: Path) -> None:
    mixture = plant()
    (tmp_path / "one" / "dev.jsonl").write_text("{\n")
    leakage = find_leakage(mixture)
    assert leakage == Leakage(mixture.leakage)


def test_the_report_is_json_and_names_documents_only_where_it_may(plant: Plant) -> None:
    leakage = find_leakage(plant(**everything("exclude")))
    report = leakage.to_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["policy"] == everything("exclude")
    assert report["excluded"] == {"two": {"documents": 5, "rows": 5}}
    (first,) = [found for found in report["overlaps"] if (found["task"], found["split"]) == ("one", "dev")]
    assert {key: first[key] for key in ("other_task", "other_split", *KINDS)} == {
        "other_task": "two",
        "other_split": "train",
        "documents": 1,
        "texts": 1,
        "sentences": 0,
        "containment": 0,
    }
    assert first["first_documents"] == {"documents": ["shared"], "texts": ["b1"]}
    anonymous = leakage.to_dict(name=None)
    assert "shared" not in json.dumps(anonymous)
    assert anonymous["excluded"] == report["excluded"]


def test_errors_and_notes_are_short_however_much_is_shared(plant: Plant) -> None:
    rows = [(str(n), f"d{n}", f"Fever {n} fell.") for n in range(9)]
    planted = {"target": {"train": [("1", "x", "x")], "dev": rows}}
    planted |= {f"t{n}": {"train": rows, "dev": [("1", "y", f"y {n}")]} for n in range(SHOWN_OVERLAPS + 2)}
    leakage = find_leakage(plant(planted))
    assert len(leakage.problems()) == SHOWN_OVERLAPS + 2
    assert all(f"and {9 - SHOWN_DOCUMENTS} more" in problem.message for problem in leakage.problems())
    assert len(leakage.notes_of("target")) == SHOWN_OVERLAPS + 1
    assert "2 smaller overlaps" in leakage.notes_of("target")[-1]


@pytest.mark.parametrize("rule", [{"folds": 5}, {"fractions": {"train": 0.6, "dev": 0.2, "test": 0.2}}])
def test_a_patient_of_train_must_not_be_in_test_of_another_task(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any]
) -> None:
    """Each task divides its own patients, so those of two tasks with nearly the same patients are divided otherwise."""
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    tasks = {}
    for name, patients in {"a": range(30), "b": range(1, 31)}.items():
        lines = [
            {"id": f"{name}{n}", "document": f"{name}{n}", "text": f"{name} {n}", "label": "yes", "patient": f"P{n:02}"}
            for n in patients
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        data = {
            "reader": "jsonl",
            "path": str(tmp_path / name),
            "meta": ["patient"],
            "split": {**rule, "by": "patient"},
        }
        tasks[name] = {"head": "classification", "labels": ["no", "yes"], "data": data}
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 32}
    fields = {"name": "patients", "encoder": encoder, "tasks": tasks}
    assert {problem.key for problem in find_leakage(load_mixture(fields)).problems()} == {"tasks.a", "tasks.b"}
    left_out = load_mixture({**fields, "leakage": {"documents": "exclude"}})
    applied = find_leakage(left_out).applied(left_out)
    assert find_leakage(applied).problems() == []
    patients = {
        (task, split): {row.meta["patient"] for row in rows}
        for task, spec in applied.tasks.items()
        for split, (rows, _) in read_rows(spec.data, task, Store()).items()
    }
    for one, other in (("a", "b"), ("b", "a")):
        assert patients[one, "train"]
        assert not patients[one, "train"] & (patients[other, "dev"] | patients[other, "test"])

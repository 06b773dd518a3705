"""Planted overlaps with exact counts, a search by hand on random texts, and the counts of the public data's README."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mtl.config.mixture import DataSpec
from mtl.data import leakage
from mtl.data.leakage import LEVELS, Overlap, find_overlaps
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.data.text_keys import RUN, letters

LONG = "Aspirin lowered the risk of stroke in older patients who had never smoked, but raised the risk of bleeding."
OTHER = "Nothing of the kind was seen among the younger ones, of whom only a few had smoked for more than a year."


class Tasks:
    """Tasks whose rows are written down: id, document, text, and the second text of a pair."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = Store(folder / "cache")
        self.rows: dict[str, Any] = {}

    def add(self, name: str, **splits: Sequence[tuple[str, ...] | Mapping[str, Any]]) -> None:
        path = self._folder / name
        path.mkdir()
        for split, rows in {"train": (), "dev": (), **splits}.items():
            fields = [
                row
                if isinstance(row, Mapping)
                else dict(zip(("id", "document", "text", "text_pair"), row, strict=False))
                for row in rows
            ]
            (path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fields))
        self.rows[name] = read_rows(DataSpec(reader="jsonl", path=str(path)), "data", self.store)

    def found(self) -> dict[str, dict[str, int]]:
        """The counts above zero of each overlap, by its splits."""
        return {
            f"{o.split} of {o.task} in {o.other_split} of {o.other_task}": {k: n for k, n in o.counts.items() if n}
            for o in self.overlaps()
        }

    def overlaps(self) -> list[Overlap]:
        return find_overlaps(self.rows, self.store)


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path)


# --- planted ----------------------------------------------------------------------------------------------------------


def test_every_level_is_counted_in_units_of_the_scored_split(tasks: Tasks) -> None:
    tasks.add(
        "one",
        dev=[("1", "a", "Fever fell."), ("2", "b", "Clean.")],
        test=[
            ("3", "c", "Two rows of one document."),  # documents: c once, sentences: both
            ("4", "c", "The other row of this document."),
            ("5", "d", "A rash."),  # texts: twice
            ("6", "e", "a RASH"),
            ("7", "f", f"{LONG} Then some more."),  # sentences and containment
            ("8", "g", f"It is known that {LONG[8:]}"),  # containment only
            ("9", "h", "Clean, too."),
        ],
    )
    tasks.add(
        "two",
        train=[
            ("1", "c", "The other row of this document! Two rows of one document?"),
            ("2", "p", "FEVER fell!"),
            ("3", "q", "A rash?"),
            ("4", "r", "A rash."),
            ("5", "s", LONG),
        ],
        dev=[("6", "t", "Fever fell."), ("7", "t", LONG)],
    )
    by_splits = {(o.task, o.split, o.other_task): o for o in tasks.overlaps() if o.task == "one"}
    assert set(by_splits) == {("one", "dev", "two"), ("one", "test", "two")}
    dev, test = by_splits["one", "dev", "two"], by_splits["one", "test", "two"]
    assert dev.counts == {"documents": 0, "texts": 1, "sentences": 0, "containment": 0}
    assert test.counts == {"documents": 1, "texts": 2, "sentences": 3, "containment": 2}
    assert dev.documents == {"documents": (), "texts": ("p",), "sentences": (), "containment": ()}
    assert test.documents == {
        "documents": ("c",),
        "texts": ("q", "r"),
        "sentences": ("c", "s"),
        "containment": ("s",),
    }


def test_dev_and_test_are_compared_with_every_train_and_test_with_dev_of_its_own_task(tasks: Tasks) -> None:
    tasks.add("one", train=[("1", "a", "Alpha.")], dev=[("2", "b", "Beta.")], test=[("3", "c", "Gamma.")])
    tasks.add("two", train=[("1", "d", "Beta.")], dev=[("2", "e", "Gamma.")], test=[("3", "f", "Alpha.")])
    tasks.add("three", train=[("1", "g", "Gamma."), ("2", "g", "Delta.")], dev=[("3", "h", "Delta.")])
    tasks.add("four", train=[("1", "i", "Alone.")], dev=[("2", "j", "Epsilon.")], test=[("3", "k", "epsilon")])
    assert tasks.found() == {
        "dev of one in train of two": {"texts": 1},
        "test of one in train of three": {"texts": 1},
        "dev of two in train of three": {"texts": 1},
        "test of two in train of one": {"texts": 1},
        "dev of three in train of three": {"texts": 1},
        "test of four in dev of four": {"texts": 1},
    }


def test_the_result_does_not_depend_on_the_order_of_tasks_or_rows(tasks: Tasks) -> None:
    tasks.add("one", train=[("1", "a", LONG), ("2", "b", "Fever.")], dev=[("3", "c", OTHER)])
    tasks.add("two", train=[("1", "d", OTHER)], dev=[("2", "e", "Fever."), ("3", "f", LONG)])
    tasks.add("two_turned", train=[("1", "d", OTHER)], dev=[("3", "f", LONG), ("2", "e", "Fever.")])
    before = tasks.found()
    tasks.rows = dict(reversed(tasks.rows.items()))
    assert tasks.found() == before
    assert before["dev of two in train of one"] == before["dev of two_turned in train of one"]
    assert before["dev of two in train of one"] == {"texts": 2, "sentences": 1, "containment": 1}


def test_tasks_that_annotate_the_same_corpus_have_only_the_overlap_of_its_published_splits(tasks: Tasks) -> None:
    train = [("1", "a", "Fever fell."), ("2", "b", "Rash."), ("3", "c", "Cough.")]
    dev = [("4", "d", "fever fell"), ("5", "e", "Clean.")]
    tasks.add("one", train=train, dev=dev)
    tasks.add("part", train=train[:2], dev=dev[:1])
    tasks.add("more", train=[*train, ("6", "f", "Clean.")], dev=[("7", "g", "Of its own.")])
    published = {(o.task, o.other_task): o.is_published for o in tasks.overlaps()}
    assert published == {
        ("one", "one"): True,
        ("one", "part"): True,
        ("one", "more"): False,
        ("part", "one"): False,
        ("part", "part"): True,
        ("part", "more"): False,
    }


# --- ids --------------------------------------------------------------------------------------------------------------


def test_an_id_of_several_rows_counts_whatever_their_text(tasks: Tasks) -> None:
    tasks.add("one", dev=[("1", "note 12", "Fever."), ("2", "note 12", "Cough."), ("3", "note 13", "Chills.")])
    tasks.add("two", train=[("1", "note 12", "Quite another part."), ("2", "note 14", "Rash.")])
    assert tasks.found() == {"dev of one in train of two": {"documents": 1}}


@pytest.mark.parametrize("text", ["Nothing in common with it.", "Short."])
def test_an_id_that_may_be_the_number_of_a_row_does_not_count_alone(tasks: Tasks, text: str) -> None:
    tasks.add("one", dev=[{"id": "12", "text": "Fever fell within two days. Short."}])
    tasks.add("two", train=[{"id": "12", "text": text}, {"id": "13", "text": "Elsewhere."}])
    assert tasks.found() == {}


@pytest.mark.parametrize("whole_is_scored", [True, False])
def test_an_id_that_may_be_the_number_of_a_row_counts_with_a_sentence_or_a_run_of_letters(
    tasks: Tasks, whole_is_scored: bool
) -> None:
    whole = [("12", "12", f"{OTHER} {LONG}"), ("13", "13", f"{OTHER} {LONG}")]
    parts = [("s1", "12", "Short."), ("s2", "12", LONG.upper()), ("s3", "13", f"Thus, {LONG[8:]}")]
    scored, trained = (whole, parts) if whole_is_scored else (parts, whole)
    tasks.add("one", test=scored)
    tasks.add("two", train=[*trained, ("x", "14", LONG)])
    (overlap,) = tasks.overlaps()
    assert overlap.counts["documents"] == 2
    assert overlap.documents["documents"] == ("12", "13")


def test_pubmed_ids_of_rows_count_as_ids_of_their_documents(tasks: Tasks) -> None:
    drug = {"id": "d1", "document": "DDI-MedLine.d1", "text": "One.", "meta": {"pmid": "77"}}
    tasks.add("one", test=[("1", "77", "Another."), ("2", "78", "More.")])
    tasks.add("two", train=[drug, {**drug, "id": "d2", "text": "Two."}])
    (overlap,) = tasks.overlaps()
    assert (overlap.counts["documents"], overlap.documents["documents"]) == (1, ("DDI-MedLine.d1",))


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_pair_counts_by_both_texts_and_a_text_without_letters_by_none(tasks: Tasks) -> None:
    tasks.add("one", dev=[("2", "a", "Fever.", "Cough."), ("3", "b", "...")])
    tasks.add("two", train=[("1", "p", "Fever."), ("2", "q", "Fever.", "Another."), ("3", "r", "?!")])
    assert tasks.found() == {}
    tasks.add("three", train=[("1", "p", "fever", "cough")])
    assert tasks.found() == {"dev of one in train of three": {"texts": 1}}


def test_each_text_of_a_pair_counts_as_a_sentence_and_for_containment(tasks: Tasks) -> None:
    tasks.add("one", dev=[("1", "a", LONG, OTHER)], test=[("2", "b", "Other.", LONG)])
    tasks.add("two", train=[("1", "p", OTHER, LONG)])
    assert tasks.found()["dev of one in train of two"] == {"sentences": 2, "containment": 2}
    assert tasks.found()["test of one in train of two"] == {"sentences": 1, "containment": 1}


@pytest.mark.parametrize(("length", "count"), [(RUN - 1, 0), (RUN, 1), (RUN + 1, 1)])
@pytest.mark.parametrize("before", [0, 1, 31, 32, 33, 100])
def test_containment_begins_at_64_letters_and_digits_in_a_row(
    tasks: Tasks, length: int, count: int, before: int
) -> None:
    rng = random.Random(length + before)
    shared = "".join(rng.choices("abcdefghij0123456789", k=length))
    tasks.add("one", dev=[("1", "a", f"{'x' * 50} {shared[:20]}-{shared[20:].upper()} {'y' * 50}")])
    tasks.add("two", train=[("1", "p", f"{'u' * before}. {shared}; {'v' * 70}")])
    assert tasks.found() == ({"dev of one in train of two": {"containment": 1}} if count else {})


def test_containment_equals_a_search_by_hand_on_random_texts(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl.data.text_keys.CHUNK", 500)
    rng = random.Random(3)

    def text(pool: Sequence[str]) -> str:
        pieces = [rng.choice(pool)[rng.randrange(60) : rng.randrange(60, 140)] for _ in range(rng.randrange(1, 4))]
        return " ".join([*pieces, "".join(rng.choices("abcdefgh ,.", k=40))])

    pool = ["".join(rng.choices("abcdefgh", k=140)) for _ in range(30)]
    texts = {
        (task, split): [text(pool) for _ in range(40)] for task in ("one", "two") for split in ("train", "dev", "test")
    }
    for task in ("one", "two"):
        splits = {
            s: [(f"{s}{n}", f"{s}{n}", t) for n, t in enumerate(texts[task, s])] for s in ("train", "dev", "test")
        }
        tasks.add(task, **splits)
    compared = 0
    for overlap in tasks.overlaps():
        train = [letters(t) for t in texts[overlap.other_task, overlap.other_split]]
        scored = [letters(t) for t in texts[overlap.task, overlap.split]]
        hits = [[_shares_a_run(one, other) for other in train] for one in scored]
        assert overlap.counts["containment"] == sum(map(any, hits))
        assert 0 < overlap.counts["containment"] < len(scored)
        expected = {f"{overlap.other_split}{n}" for n in range(len(train)) if any(line[n] for line in hits)}
        assert set(overlap.documents["containment"]) == expected
        compared += 1
    assert compared == 10  # dev and test with two trains, and test with dev, for two tasks


def _shares_a_run(one: str, other: str) -> bool:
    return any(one[i : i + RUN] in other for i in range(len(one) - RUN + 1))


# --- the store --------------------------------------------------------------------------------------------------------


def test_rows_that_did_not_change_are_compared_once(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.add("one", dev=[("1", "a", LONG)])
    tasks.add("two", train=[("1", "b", LONG)])
    before = tasks.overlaps()
    monkeypatch.setattr(leakage, "SplitTexts", None)
    assert tasks.overlaps() == before
    tasks.add("three", train=[("1", "c", LONG)])
    with pytest.raises(TypeError):
        tasks.overlaps()


def test_nothing_in_the_result_is_text_of_a_row(tasks: Tasks) -> None:
    tasks.add("one", dev=[("1", "a", LONG), ("2", "b", LONG, "zyzzyva")])
    tasks.add("two", train=[("1", "c", LONG), ("2", "d", LONG, "zyzzyva")])
    written = repr(tasks.overlaps()).lower()
    assert not any(word in written for word in ("aspirin", "zyzzyva"))


# --- public data ------------------------------------------------------------------------------------------------------

_NAMES = {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"}
_SOURCES: dict[str, dict[str, Any]] = {
    "jnlpba": {"reader": "conll", "path": "jnlpba/blurb", "document_mark": "-DOCSTART-", "entity_type": "GENE"},
    "bc2gm": {"reader": "conll", "path": "bc2gm", "files": _NAMES},
    "ncbi_disease": {"reader": "conll", "path": "ncbi_disease", "files": _NAMES},
    "gad": {"reader": "table", "path": "gad/blurb", "columns": {"id": "index", "text": "sentence"}},
    "biosses": {
        "reader": "table",
        "path": "biosses/blurb",
        "columns": {"id": "pair_id", "text": "sent1", "text_pair": "sent2", "label": "score"},
    },
    "hoc": {"reader": "hoc", "path": "hoc/blurb", "unit": "sentence"},
    "bc5cdr": {
        "reader": "pubtator",
        "path": "bc5cdr_pubtator",
        "files": {
            f: f"CDR_{n}Set.PubTator.txt" for f, n in zip(_NAMES, ("Training", "Development", "Test"), strict=True)
        },
    },
    "phee": {"reader": "brat", "path": "phee/brat", "document": r"^(\d+)_"},
    "ddi": {"reader": "ddi2013", "path": "ddi2013"},
    "drug_ner": {"reader": "ddi2013", "path": "ddi2013", "test": "ner"},
}

# Section 4 of the data's README: shared abstracts by PMID, and test units with 64 or more letters and digits in a row.
_DOCUMENTS = {
    ("phee", "dev", "bc5cdr"): 2,
    ("phee", "test", "bc5cdr"): 1,
    ("bc5cdr", "dev", "phee"): 4,
    ("bc5cdr", "test", "phee"): 5,
    ("phee", "dev", "ddi"): 1,
    ("phee", "test", "ddi"): 2,
    ("ddi", "test", "phee"): 2,
    ("drug_ner", "test", "phee"): 6,
    ("jnlpba", "test", "jnlpba"): 10,
}
_WITHIN = {
    ("jnlpba", "train"): 101,
    ("ddi", "train"): 91,
    ("gad", "train"): 20,
    ("bc2gm", "train"): 13,
    ("bc2gm", "dev"): 5,
    ("biosses", "train"): 8,
    ("hoc", "train"): 8,
    ("hoc", "dev"): 0,
    ("ncbi_disease", "train"): 4,
    ("ncbi_disease", "dev"): 1,
    ("bc5cdr", "train"): 3,
    ("bc5cdr", "dev"): 2,
    ("phee", "train"): 2,
    ("phee", "dev"): 0,
}
_BETWEEN = {
    ("bc2gm", "jnlpba"): 18,
    ("jnlpba", "bc2gm"): 8,
    ("bc5cdr", "phee"): 6,
    ("drug_ner", "phee"): 10,
    ("ddi", "phee"): 4,
    ("phee", "ddi"): 4,
    ("phee", "bc5cdr"): 3,
}


@pytest.fixture(scope="module")
def public(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str, str], Overlap]:
    store = Store(tmp_path_factory.mktemp("cache"))
    rows = {}
    for name, source in _SOURCES.items():
        spec = DataSpec(**{**source, "path": str(data_folder / source["path"])})
        rows[name] = read_rows(spec, name, store)
    return {(o.task, o.split, o.other_task, o.other_split): o for o in find_overlaps(rows, store)}


@pytest.mark.slow
def test_shared_documents_of_the_public_data_are_those_of_its_readme(public: Any) -> None:
    """Sets without a line there shared no PMID; the two forms of DDI 2013 have the same train."""
    found = {key[:3]: o.counts["documents"] for key, o in public.items() if o.counts["documents"]}
    again = {("phee", split, "drug_ner"): _DOCUMENTS["phee", split, "ddi"] for split in ("dev", "test")}
    row_number = {("gad", "dev", "gad"): 1}  # the sentences of two rows with the same index are equal
    assert found == {**_DOCUMENTS, **again, **row_number}


@pytest.mark.slow
def test_runs_within_the_public_data_sets_are_those_of_its_readme(public: Any) -> None:
    for (name, other), count in _WITHIN.items():
        overlap = public.get((name, "test", name, other))
        assert (overlap.counts["containment"] if overlap else 0) == count, (name, other)
    assert public["gad", "dev", "gad", "train"].counts["containment"] == 133
    assert [public["gad", split, "gad", "train"].counts["texts"] for split in ("test", "dev")] == [8, 39]


@pytest.mark.slow
def test_runs_between_the_public_data_sets_are_those_of_its_readme(public: Any) -> None:
    for (name, other), count in _BETWEEN.items():
        assert public[name, "test", other, "train"].counts["containment"] == count, (name, other)


def test_runs_of_chemprot_are_those_of_the_readme(data_folder: Path, tmp_path: Path) -> None:
    """Each sentence stands there once per pair, with other marks around the pair."""
    store = Store(tmp_path / "cache")
    for split in ("train", "dev", "test"):
        lines = (data_folder / "chemprot" / "scibert" / f"{split}.txt").read_text(encoding="utf-8").splitlines()
        distinct = {letters(text): text for text in (json.loads(line)["text"] for line in lines)}
        written = [{"id": f"{split}-{n}", "text": text} for n, text in enumerate(distinct.values())]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    rows = {"chemprot": read_rows(DataSpec(reader="jsonl", path=str(tmp_path)), "chemprot", store)}
    hoc = {**_SOURCES["hoc"], "path": str(data_folder / "hoc" / "blurb")}
    rows["hoc"] = read_rows(DataSpec(**hoc), "hoc", store)
    assert len(rows["chemprot"]["test"][0]) == 1397
    found = {
        (o.task, o.split, o.other_task, o.other_split): o.counts["containment"] for o in find_overlaps(rows, store)
    }
    assert found["chemprot", "test", "chemprot", "train"] == 3
    assert found["chemprot", "test", "hoc", "train"] == 3


@pytest.mark.slow
def test_levels_are_listed_from_whole_documents_to_runs_of_letters(public: Any) -> None:
    assert all(tuple(overlap.counts) == tuple(overlap.documents) == LEVELS for overlap in public.values())

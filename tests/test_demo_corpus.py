"""The synthetic corpus is well formed, and the effects that its README lists can be found in it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heads.rows import SpanRow, row_from_dict, row_to_dict

FOLDER = Path(__file__).parent.parent / "experiments" / "demo"
SEEDS = range(1, 6)
Rows = list[dict[str, Any]]


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("demo_corpus", FOLDER / "corpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_corpus"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


demo = _load()
CORPORA = {seed: demo.generate(demo.Plan(seed=seed)) for seed in SEEDS}
LEXICA = {seed: demo.Lexicon(demo.Plan(seed=seed)) for seed in SEEDS}


def all_rows(seed: int = 1) -> Rows:
    return [row for splits in CORPORA[seed].values() for rows in splits.values() for row in rows]


def words(row: dict[str, Any]) -> list[str]:
    return re.findall(r"[a-z]+", f"{row['text']} {row.get('text_pair', '')}".lower())


def by_name(seed: int, kind: str) -> dict[str, Any]:
    return {item.name: item for items in getattr(LEXICA[seed], kind).values() for item in items}


def named(seed: int, row: dict[str, Any], kind: str) -> list[Any]:
    """The drugs (or conditions) of a row in the order of its text."""
    known = by_name(seed, kind)
    return [known[word] for word in words(row) if word in known]


def mention_texts(rows: Rows, kind: str) -> Counter[str]:
    found = (
        row["text"][start:end].lower()
        for row in rows
        for entity in row["entities"]
        if entity["type"] == kind
        for start, end in entity["spans"]
    )
    return Counter(found)


# --- form -------------------------------------------------------------------------------------------------------------


def test_the_files_in_the_repository_are_made_anew_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "corpus.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    ours = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    kept = FOLDER / "data"
    assert ours == {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.jsonl")}
    assert len(ours) == 15
    assert sum(map(len, ours.values())) < 1_000_000


def test_another_seed_gives_another_corpus_and_another_size_more_rows() -> None:
    assert CORPORA[1]["topics"]["test"] != CORPORA[2]["topics"]["test"]
    large = demo.generate(demo.Plan(size=900))
    assert {task: [len(rows) for rows in splits.values()] for task, splits in large.items()} == {
        task: [900, 300, 300] for task in demo.TASKS
    }


def test_every_row_is_marked_as_synthetic() -> None:
    assert len(all_rows()) == 2500
    assert all(row["id"].startswith("invented-") and row["meta"]["source"] == "invented" for row in all_rows())


def test_rows_are_in_the_form_of_the_jsonl_reader() -> None:
    for row in all_rows():
        assert row_to_dict(row_from_dict(row)) == row
        assert isinstance(row_from_dict(row), SpanRow) == ("entities" in row)


def test_no_row_id_and_no_text_comes_twice_in_a_task() -> None:
    assert len({row["id"] for row in all_rows()}) == 2500
    for splits in CORPORA[1].values():
        texts = [(row["text"], row.get("text_pair")) for rows in splits.values() for row in rows]
        assert len(set(texts)) == len(texts) == 500


def test_a_document_is_a_report_of_three_rows_in_one_split() -> None:
    sizes = Counter(row["document"] for row in all_rows())
    assert max(sizes.values()) == 3
    assert sum(sizes.values()) / len(sizes) > 2.8
    sides = {
        (row["document"], task, split) for task, s in CORPORA[1].items() for split, rows in s.items() for row in rows
    }
    assert len(sides) == len(sizes)


@pytest.mark.parametrize("task", ["mentions", "relations"])
def test_every_drug_and_condition_is_annotated_at_its_place_and_no_instrument_is(task: str) -> None:
    kinds = {"Drug": by_name(1, "drugs"), "Condition": by_name(1, "conditions")}
    for rows in CORPORA[1][task].values():
        for row in rows:
            expected = {
                (kind, match.start(), match.end())
                for match in re.finditer(r"\w+", row["text"])
                for kind, names in kinds.items()
                if match[0].lower() in names
            }
            assert {(entity["type"], *entity["spans"][0]) for entity in row["entities"]} == expected


def test_labels_are_balanced() -> None:
    for splits in CORPORA.values():
        for rows in (splits["adverse_events"]["train"], splits["adverse_events"]["test"]):
            assert 0.35 < np.mean([row["label"] == "adverse" for row in rows]) < 0.65
        topics = Counter(label for row in splits["topics"]["train"] for label in row["label"])
        assert set(topics) == set(demo.TOPICS)
        assert min(topics.values()) > 70
        scores = np.array([row["label"] for row in splits["similarity"]["train"]])
        assert (scores.min(), scores.max()) == (0, 4)
        assert np.all(np.histogram(scores, bins=5)[0] > 30)
        relations = Counter(r["type"] for row in splits["relations"]["train"] for r in row.get("relations", []))
        relations["none"] = 600 - relations.total()
        assert min(relations.values()) > 130
        assert min(len(mention_texts(splits["mentions"]["train"], kind)) for kind in ("Drug", "Condition")) > 50


# --- knowledge --------------------------------------------------------------------------------------------------------


def test_labels_follow_from_the_hidden_knowledge_in_every_row() -> None:
    for rows in CORPORA[1]["adverse_events"].values():
        for row in rows:
            drug, (condition,) = named(1, row, "drugs")[0], named(1, row, "conditions")
            assert (row["label"] == "adverse") == (demo.effect(drug, condition) == "causes")
    for rows in CORPORA[1]["topics"].values():
        for row in rows:
            _, *given = named(1, row, "drugs")
            assert set(row["label"]) == {list(demo.TOPICS)[drug.department] for drug in given}
    for rows in CORPORA[1]["relations"].values():
        for row in rows:
            (drug,), conditions = named(1, row, "drugs"), named(1, row, "conditions")
            found = {relation["tail"]: relation["type"] for relation in row.get("relations", [])}
            effects = [demo.effect(drug, condition) for condition in conditions]
            assert [found.get(f"T{i}", "none") for i in (2, 3)] == effects


def test_told_adverse_events_differ_by_order_and_not_by_words() -> None:
    told: dict[str, Counter[str]] = {"adverse": Counter(), "no_adverse": Counter()}
    for row in CORPORA[1]["adverse_events"]["train"]:
        if row["meta"]["wording"] == "told":
            told[row["label"]].update(set(words(row)) - set(by_name(1, "drugs")) - set(by_name(1, "conditions")))
    assert set(told["adverse"]) == set(told["no_adverse"])


@pytest.mark.parametrize("task", sorted(demo.PARTNERS))
def test_partner_rows_are_made_of_names_that_the_own_train_split_lacks(task: str) -> None:
    for seed in SEEDS:
        own = {word for row in CORPORA[seed][task]["train"] for word in words(row)}
        partner = {word for row in CORPORA[seed][demo.PARTNERS[task]]["train"] for word in words(row)}
        rows = [row for row in CORPORA[seed][task]["test"] if row["meta"]["names"] == "partner"]
        used = {item.name for row in rows for kind in ("drugs", "conditions") for item in named(seed, row, kind)}
        assert len(rows) >= 20
        assert not used & own
        assert len(used & partner) / len(used) > 0.9  # a draw may miss a few


def test_new_rows_are_made_of_names_that_no_train_split_has() -> None:
    trained = {word for splits in CORPORA[1].values() for row in splits["train"] for word in words(row)}
    rows = [row for row in all_rows() if row["meta"].get("names") == "new"]
    used = {item.name for row in rows for kind in ("drugs", "conditions") for item in named(1, row, kind)}
    assert len(used) > 30
    assert not used & trained


# --- related ----------------------------------------------------------------------------------------------------------


def lexicon_score(seed: int, train: Rows) -> tuple[float, float]:
    """Recall and precision on the drugs of the test split of mentions, from a list of names."""
    known = set(mention_texts(train, "Drug"))
    test = CORPORA[seed]["mentions"]["test"]
    gold = mention_texts(test, "Drug")
    found = Counter(word for row in test for word in words(row) if word in known)
    right = (gold & found).total()
    return right / gold.total(), right / found.total()


def test_the_names_in_relations_train_raise_recall_in_mentions_test() -> None:
    gains = []
    for seed in SEEDS:
        own, partner = CORPORA[seed]["mentions"]["train"], CORPORA[seed]["relations"]["train"]
        (alone, _), (together, precision) = lexicon_score(seed, own), lexicon_score(seed, own + partner)
        gains.append(together - alone)
        assert precision == 1.0
        assert together > 0.75
    assert min(gains) > 0.2  # 40% of the rows are planted


def votes(seed: int, task: str) -> dict[str, Counter[int]]:
    """What a train split says about the class of each drug, given the systems of the conditions."""
    found: dict[str, Counter[int]] = {}
    for row in CORPORA[seed][task]["train"]:
        drug, conditions = named(seed, row, "drugs")[0], named(seed, row, "conditions")
        if task == "adverse_events":
            effects = ["causes" if row["label"] == "adverse" else None]
        else:
            types = {relation["tail"]: relation["type"] for relation in row.get("relations", [])}
            effects = [types.get(f"T{i}") for i in (2, 3)]
        for condition, effect in zip(conditions, effects, strict=True):
            if effect is not None:
                shift = 1 if effect == "causes" else 0
                found.setdefault(drug.name, Counter())[(condition.system - shift) % demo.NUM_GROUPS] += 1
    return found


def right_classes(seed: int, task: str, sources: list[str]) -> float:
    """How many test rows of a task name a drug whose class the train splits of some tasks give away."""
    known: dict[str, Counter[int]] = {}
    for source in sources:
        for name, counter in votes(seed, source).items():
            known.setdefault(name, Counter()).update(counter)
    drugs = [named(seed, row, "drugs")[0] for row in CORPORA[seed][task]["test"]]
    return float(np.mean([known[d.name].most_common(1)[0][0] == d.group if d.name in known else 0.25 for d in drugs]))


@pytest.mark.parametrize(("task", "partner"), [("relations", "adverse_events"), ("adverse_events", "relations")])
def test_classes_learnt_from_the_partner_are_those_that_the_task_needs(task: str, partner: str) -> None:
    gains = [right_classes(seed, task, [task, partner]) - right_classes(seed, task, [task]) for seed in SEEDS]
    assert min(gains) > 0.1
    assert np.mean(gains) > 0.2  # 40% of the rows, from a quarter right by chance


def test_no_drug_that_only_topics_trains_is_needed_elsewhere() -> None:
    topics = {drug.name for drug in LEXICA[1].drugs["topics"]}
    for task in ("adverse_events", "mentions", "relations"):
        assert not topics & {word for row in CORPORA[1][task]["test"] for word in words(row)}


# --- unrelated --------------------------------------------------------------------------------------------------------


def test_similarity_shares_no_content_word_with_any_other_task() -> None:
    function_words = {"the", "a", "at", "on", "my", "in", "of", "and", "was"}
    other = {word for row in all_rows() if "-similarity-" not in row["id"] for word in words(row)}
    own = {word for row in CORPORA[1]["similarity"]["train"] for word in words(row)}
    assert own & other <= function_words
    assert len(own) > 30


def test_similarity_follows_from_the_number_of_parts_that_agree() -> None:
    meanings = {text: meaning for part in demo.PARTS for meaning in part for text in meaning}

    def parts(text: str) -> set[tuple[str, ...]]:
        return {meaning for wording, meaning in meanings.items() if re.search(rf"\b{wording}\b", text, re.I)}

    rows = CORPORA[1]["similarity"]["train"]
    shared = [len(parts(row["text"]) & parts(row["text_pair"])) for row in rows]
    assert np.corrcoef(shared, [row["label"] for row in rows])[0, 1] > 0.95


# --- competing --------------------------------------------------------------------------------------------------------


def kept(*targets: np.ndarray[Any, Any]) -> float:
    """The share of some centred targets [drugs, classes] that a shared representation of three dimensions can hold."""
    values = np.hstack([target - target.mean(axis=0) for target in targets])
    squares = np.linalg.svd(values, compute_uv=False) ** 2
    return float(squares[:3].sum() / squares.sum())


def test_three_dimensions_hold_what_either_task_needs_of_drugs_and_half_of_what_both_need() -> None:
    drugs = list(by_name(1, "drugs").values())
    classes, departments = np.eye(4)[[d.group for d in drugs]], np.eye(4)[[d.department for d in drugs]]
    assert kept(classes) == pytest.approx(1)
    assert kept(departments) == pytest.approx(1)
    assert kept(classes, classes) == pytest.approx(1)  # relations and adverse_events: related
    assert kept(classes, departments) == pytest.approx(0.5)  # adverse_events and topics: competing


def hidden_rows(task: str) -> list[tuple[int, dict[str, Any]]]:
    return [(seed, row) for seed in SEEDS for row in CORPORA[seed][task]["train"] if row["meta"]["wording"] == "hidden"]


def test_competing_tasks_read_the_same_sentence() -> None:
    shape = re.compile(r"(?:[A-Z][a-z ]+, )?\w+ was replaced by \w+(?: and \w+)?; \w+ is on record\.")
    for task in ("adverse_events", "topics"):
        rows = hidden_rows(task)
        assert len(rows) > 500
        assert all(shape.fullmatch(row["text"]) for _, row in rows)


def predictive(task: str, position: int, label: Callable[[dict[str, Any]], str], attribute: str) -> float:
    """Smallest p-value of a table of label by what is known of the drug at a position, over all hidden rows."""
    from scipy.stats import chi2_contingency

    table: Counter[tuple[str, int]] = Counter()
    for seed, row in hidden_rows(task):
        drugs = named(seed, row, "drugs")
        if len(drugs) == 2:
            knowledge = getattr(drugs[position], attribute)
            if attribute == "group":
                knowledge = (named(seed, row, "conditions")[0].system - knowledge) % demo.NUM_GROUPS
            table[label(row), knowledge] += 1
    labels = sorted({name for name, _ in table})
    return float(chi2_contingency([[table[name, k] for k in range(4)] for name in labels]).pvalue)


def test_competing_tasks_need_what_misleads_the_other() -> None:
    def adverse(row: dict[str, Any]) -> str:
        return str(row["label"])

    def topic(row: dict[str, Any]) -> str:
        return str(row["label"][0])

    assert predictive("adverse_events", 0, adverse, "group") < 1e-20
    assert predictive("topics", 1, topic, "department") < 1e-20
    for task, position, label, attribute in (
        ("adverse_events", 1, adverse, "group"),
        ("adverse_events", 1, adverse, "department"),
        ("adverse_events", 0, adverse, "department"),
        ("topics", 0, topic, "department"),
        ("topics", 0, topic, "group"),
        ("topics", 1, topic, "group"),
    ):
        assert predictive(task, position, label, attribute) > 0.001


# --- the mixture ------------------------------------------------------------------------------------------------------


def test_the_demo_mixture_names_every_task_and_its_labels() -> None:
    import yaml

    path = FOLDER.parent / "mixtures" / "demo.yaml"
    tasks = yaml.safe_load(path.read_text(encoding="utf-8"))["tasks"]
    assert list(tasks) == list(demo.TASKS)
    for name, task in tasks.items():
        folder = path.parent / task["data"]["path"]
        assert {file.name for file in folder.iterdir()} == {"train.jsonl", "dev.jsonl", "test.jsonl"}
        if name in ("adverse_events", "topics"):
            rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
            labels = {tuple(row["label"]) if name == "topics" else (row["label"],) for row in rows}
            assert {label for several in labels for label in several} == set(task["labels"])
    assert set(tasks["relations"]["labels"]) == set(demo.EFFECTS)

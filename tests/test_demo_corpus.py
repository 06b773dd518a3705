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
    found = [item for items in getattr(LEXICA[seed], kind).values() for item in items]
    return {item if isinstance(item, str) else item.name: item for item in found}


def named(seed: int, row: dict[str, Any], kind: str) -> list[Any]:
    """The drugs (or conditions) of a row in the order of its text."""
    known = by_name(seed, kind)
    return [known[word] for word in words(row) if word in known]


def named_words(seed: int, rows: Rows) -> set[str]:
    """The names of drugs and conditions in some rows."""
    known = by_name(seed, "drugs") | by_name(seed, "conditions")
    return {word for row in rows for word in words(row) if word in known}


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
        task: [60 if task == "adverse_events" else 900, 300, 300] for task in demo.TASKS
    }


def test_every_row_is_marked_as_synthetic() -> None:
    assert len(all_rows()) == 1820
    assert all(row["id"].startswith("invented-") and row["meta"]["source"] == "invented" for row in all_rows())


def test_rows_are_in_the_form_of_the_jsonl_reader() -> None:
    for row in all_rows():
        assert row_to_dict(row_from_dict(row)) == row
        assert isinstance(row_from_dict(row), SpanRow) == ("entities" in row)


def test_no_row_id_and_no_text_comes_twice_in_a_task() -> None:
    assert len({row["id"] for row in all_rows()}) == 1820
    for splits in CORPORA[1].values():
        texts = [(row["text"], row.get("text_pair")) for rows in splits.values() for row in rows]
        assert len(set(texts)) == len(texts) == sum(map(len, splits.values()))


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
            assert 0.3 < np.mean([row["label"] == "adverse" for row in rows]) < 0.7
        topics = Counter(label for row in splits["topics"]["train"] for label in row["label"])
        assert set(topics) == set(demo.TOPICS)
        assert min(topics.values()) > 50
        scores = np.array([row["label"] for row in splits["similarity"]["train"]])
        assert (scores.min(), scores.max()) == (0, 4)
        assert np.all(np.histogram(scores, bins=5)[0] > 20)
        relations = Counter(r["type"] for row in splits["relations"]["train"] for r in row.get("relations", []))
        relations["none"] = 480 - relations.total()
        assert min(relations.values()) > 90
        assert min(len(mention_texts(splits["mentions"]["train"], kind)) for kind in ("Drug", "Condition")) > 50


# --- knowledge --------------------------------------------------------------------------------------------------------


def test_labels_follow_from_the_hidden_knowledge_in_every_row() -> None:
    for rows in CORPORA[1]["adverse_events"].values():
        for row in rows:
            drug = named(1, row, "drugs")[0]
            assert (row["label"] == "adverse") == (demo.effect(drug) == "causes")
    for rows in CORPORA[1]["topics"].values():
        for row in rows:
            _, *given = named(1, row, "drugs")
            assert set(row["label"]) == {list(demo.TOPICS)[drug.department] for drug in given}
    for rows in CORPORA[1]["relations"].values():
        for row in rows:
            found = {relation["head"]: relation["type"] for relation in row.get("relations", [])}
            ids = [entity["id"] for entity in row["entities"] if entity["type"] == "Drug"]
            assert [found.get(name, "none") for name in ids] == [demo.effect(drug) for drug in named(1, row, "drugs")]


def test_no_word_beside_the_names_tells_adverse_events() -> None:
    used: dict[str, Counter[str]] = {"adverse": Counter(), "no_adverse": Counter()}
    for seed in SEEDS:
        for row in CORPORA[seed]["adverse_events"]["train"]:
            used[row["label"]].update(set(words(row)) - named_words(seed, [row]))
    assert set(used["adverse"]) == set(used["no_adverse"])


def test_every_split_has_the_planned_shares_of_names() -> None:
    for task in ("adverse_events", "relations"):
        rows = CORPORA[1][task]["test"]
        shares = Counter(row["meta"]["names"] for row in rows)
        planted = "partner" if task in demo.PARTNERS else "new"
        assert shares["own"] / len(rows) == pytest.approx(0.5, abs=0.05)
        assert shares[planted] / len(rows) == pytest.approx(0.4 if planted == "partner" else 0.5, abs=0.05)


@pytest.mark.parametrize("task", sorted(demo.PARTNERS))
def test_partner_rows_are_made_of_names_that_the_own_train_split_lacks(task: str) -> None:
    for seed in SEEDS:
        own = {word for row in CORPORA[seed][task]["train"] for word in words(row)}
        partner = {word for row in CORPORA[seed][demo.PARTNERS[task]]["train"] for word in words(row)}
        rows = [row for row in CORPORA[seed][task]["test"] if row["meta"]["names"] == "partner"]
        used = named_words(seed, rows)
        assert len(rows) >= 20
        assert not used & own
        assert len(used & partner) / len(used) > 0.9  # a draw may miss a few


def test_new_rows_are_made_of_names_that_no_train_split_has() -> None:
    trained = {word for splits in CORPORA[1].values() for row in splits["train"] for word in words(row)}
    rows = [row for row in all_rows() if row["meta"].get("names") == "new"]
    used = named_words(1, rows)
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


def test_relations_name_the_drugs_that_adverse_events_lack() -> None:
    for seed in SEEDS:
        own, partner = (
            {drug.name for row in CORPORA[seed][task]["train"] for drug in named(seed, row, "drugs")}
            for task in ("adverse_events", "relations")
        )
        drugs = [named(seed, row, "drugs")[0].name for row in CORPORA[seed]["adverse_events"]["test"]]
        assert np.mean([name in own for name in drugs]) < 0.6
        assert np.mean([name in own | partner for name in drugs]) > 0.75


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
    assert kept(classes, departments) == pytest.approx(0.5)  # relations and topics: competing


def hidden_rows(task: str) -> list[tuple[int, dict[str, Any]]]:
    return [(seed, row) for seed in SEEDS for row in CORPORA[seed][task]["train"] if row["meta"]["wording"] == "hidden"]


def test_competing_tasks_read_the_same_sentence() -> None:
    shape = re.compile(r"(?:[A-Z][a-z ]+, )?\w+ was replaced by \w+(?: and \w+)?; \w+ is on record\.")
    for task in ("relations", "topics"):
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
            table[label(row), knowledge] += 1
    labels = sorted({name for name, _ in table})
    return float(chi2_contingency([[table[name, k] for k in range(4)] for name in labels]).pvalue)


def test_competing_tasks_need_different_knowledge_of_the_same_drugs() -> None:
    def relation(row: dict[str, Any]) -> str:
        """The effect of the second drug."""
        second = [entity["id"] for entity in row["entities"] if entity["type"] == "Drug"][1]
        return next((one["type"] for one in row.get("relations", []) if one["head"] == second), "none")

    def topic(row: dict[str, Any]) -> str:
        return str(row["label"][0])

    assert predictive("relations", 1, relation, "group") < 1e-20
    assert predictive("topics", 1, topic, "department") < 1e-20
    for task, position, label, attribute in (
        ("relations", 0, relation, "department"),
        ("relations", 1, relation, "department"),
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

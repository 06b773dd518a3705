from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meter import rss_anon_mib

from heads import Row
from heads.classification import Classification
from heads.regression import Regression
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.data import examples, store
from mtl.data.examples import TaskData, accounts, document_ranks, prepare
from mtl.data.store import StoredTable
from mtl.problems import InputError
from mtl.training.assembly import build_heads
from tests.user_head import HELPERS, OURS

Write = Callable[..., Path]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The tasks and splits that were encoded instead of found in the cache."""
    seen: list[tuple[str, str]] = []
    real = examples._ExampleBuild.start

    def start(build: Any) -> Any:
        seen.append((build._task.name, build._split))
        return real(build)

    monkeypatch.setattr(examples._ExampleBuild, "start", start)
    return seen


def prepared(mixture: Mixture) -> dict[str, TaskData]:
    heads, tokenizer = build_heads(mixture)
    return prepare(mixture, heads, tokenizer)


def only(write: Write, task: str, *overrides: str) -> Mixture:
    return load_mixture(write(), [f"only=[{task}]", *overrides])


def test_an_unchanged_mixture_is_encoded_once(toy_mixture: Write, encoded: list[tuple[str, str]]) -> None:
    first = prepared(load_mixture(toy_mixture()))
    assert sorted(encoded) == sorted((task, split) for task in first for split in ("train", "dev", "test"))
    encoded.clear()
    second = prepared(load_mixture(toy_mixture()))
    assert encoded == []
    for task, splits in first.items():
        for split, content in splits.items():
            assert list(content.examples) == list(second[task][split].examples)
            assert content.example_summary == second[task][split].example_summary


@pytest.mark.filterwarnings("ignore:The cache folder")
def test_a_disk_that_becomes_full_changes_no_counts(
    toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "roomy"))
    expected = prepared(load_mixture(toy_mixture()))
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "full"))
    store._temporary.cache_clear()
    write_arrow = store._write_arrow

    def full(path: Path, records: Iterator[Any]) -> None:
        if path.is_relative_to(tmp_path):
            assert len(list(islice(records, 5))) == 5
            raise OSError(28, "No space left on device")
        write_arrow(path, records)

    monkeypatch.setattr(store, "_write_arrow", full)
    found = prepared(load_mixture(toy_mixture()))
    store._temporary.cache_clear()
    for task, splits in expected.items():
        for split, content in splits.items():
            assert found[task][split].row_summary == content.row_summary
            assert found[task][split].example_summary == content.example_summary


@pytest.mark.parametrize(
    "override",
    [
        "seed=9",
        "batch_size=2",
        "tasks.drugs.loss_weight=2",
        "tasks.drugs.learning_rate_factor=3",
        "name=other",
        "encoder.dropout=0.3",
    ],
)
def test_settings_that_do_not_change_the_examples_use_the_same_cache(
    toy_mixture: Write, encoded: list[tuple[str, str]], override: str
) -> None:
    prepared(only(toy_mixture, "drugs"))
    encoded.clear()
    prepared(only(toy_mixture, "drugs", override))
    assert encoded == []


@pytest.mark.parametrize(
    "override",
    [
        "tasks.drugs.labels=[Chemical, Gene]",
        "tasks.drugs.options.scheme=IO",
        "tasks.drugs.options.stride=4",
        "tasks.drugs.max_length=16",
        "tasks.drugs.data.on_bad_row=skip",
    ],
)
def test_settings_that_change_the_examples_give_another_key(
    toy_mixture: Write, encoded: list[tuple[str, str]], override: str
) -> None:
    prepared(only(toy_mixture, "drugs"))
    encoded.clear()
    prepared(only(toy_mixture, "drugs", override))
    assert encoded == [("drugs", "train"), ("drugs", "dev"), ("drugs", "test")]


def test_only_splits_with_changed_rows_are_encoded_again(
    toy_mixture: Write, encoded: list[tuple[str, str]], tmp_path: Path
) -> None:
    mixture = only(toy_mixture, "drugs")
    prepared(mixture)
    encoded.clear()
    with (tmp_path / "drugs" / "dev.jsonl").open("a") as file:
        file.write(json.dumps({"text": "no drug", "entities": []}) + "\n")
    assert len(prepared(mixture)["drugs"]["dev"].rows) == 8
    assert encoded == [("drugs", "dev")]


def test_another_vocabulary_gives_another_key(toy_mixture: Write, encoded: list[tuple[str, str]]) -> None:
    mixture = only(toy_mixture, "drugs")
    heads, tokenizer = build_heads(mixture)
    prepare(mixture, heads, tokenizer)
    encoded.clear()
    tokenizer.add_tokens(["ibuprofen@"])
    prepare(mixture, heads, tokenizer)
    assert len(encoded) == 3


@pytest.mark.parametrize(
    ("name", "value"), [("truncation_side", "left"), ("model_input_names", ["input_ids", "attention_mask"])]
)
def test_tokenizers_with_one_backend_but_other_settings_do_not_share_examples(
    toy_mixture: Write, name: str, value: Any
) -> None:
    mixture = only(toy_mixture, "cause", "encoder.max_length=8")
    heads, tokenizer = build_heads(mixture)
    _, other = build_heads(mixture)
    setattr(other, name, value)
    first, second = (list(prepare(mixture, heads, t)["cause"]["train"].examples) for t in (tokenizer, other))
    assert first != second


def test_another_head_on_the_same_rows_has_its_own_tables(toy_mixture: Write) -> None:
    refuse = "tasks.cause.data.on_bad_row=skip"
    assert prepared(only(toy_mixture, "cause", refuse))["cause"]["train"].example_summary.used == 26
    with pytest.raises(InputError, match=r"'train' .*\(read 26, skipped 26 "):
        prepared(only(toy_mixture, "cause", refuse, "tasks.cause.head=multilabel"))


def test_examples_are_encoded_again_if_the_code_of_their_head_changes_but_not_if_only_its_docstring_does(
    toy_mixture: Write, encoded: list[tuple[str, str]], lab: Callable[..., None]
) -> None:
    def prepare_all(head: str = "lab.ours.Ours") -> list[str]:
        encoded.clear()
        prepared(load_mixture(toy_mixture(), [f"tasks.cause.head={head}", "only=[cause, drugs, risk]"]))
        return sorted({task for task, _ in encoded})

    lab(ours=OURS, helpers=HELPERS)
    assert prepare_all() == ["cause", "drugs", "risk"]
    lab(
        ours=OURS.replace("Classifies texts.", "Finds a class."), helpers="# A comment.\n" + HELPERS, new="import heads"
    )
    assert prepare_all() == []
    lab(elsewhere=OURS)
    assert prepare_all("lab.elsewhere.Ours") == []
    lab(helpers=HELPERS.replace("1.0", "2.0"))
    assert prepare_all() == ["cause"]


def test_examples_that_cannot_be_stored_are_a_problem_of_their_task(
    toy_mixture: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK", 3)
    real = Regression.gold
    monkeypatch.setattr(Regression, "gold", lambda head, row: {"label": int(real(head, row)["label"]) or 0.5})
    with pytest.raises(InputError, match=r"tasks\.risk: .*'label' must be"):
        prepared(only(toy_mixture, "risk"))


# --- counts ---------------------------------------------------------------------------------------------------------


def test_rows_are_used_unlabelled_or_refused_and_numbered_as_read(toy_mixture: Write, tmp_path: Path) -> None:
    mixture = only(toy_mixture, "cause", "tasks.cause.data.on_bad_row=skip")
    rows = [{"text": "a", "label": "no"}, {"text": "b"}, {"text": "c", "label": "maybe"}, {"text": "d", "label": "yes"}]
    (tmp_path / "cause" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = prepared(mixture)["cause"]["train"]
    summary = content.example_summary
    assert (summary.used, summary.unlabelled, summary.num_refused) == (2, 1, 1)
    assert content.example_rows.tolist() == [0, 3]  # indices among all rows that were read
    assert [content.rows[index].text for index in content.example_rows] == ["a", "d"]
    assert summary.labels == {"no": 1, "yes": 1}
    (refused,) = summary.refused
    assert refused.startswith("row train-3: ")
    assert "'maybe'" in refused


@pytest.mark.parametrize("skips", [True, False])
def test_rows_that_cannot_be_trained_on_are_refused_in_train_only(
    toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, skips: bool
) -> None:
    def problem(head: Classification, row: Row) -> str | None:
        return f"the text must have no x, got {row.text.count('x')}" if "x" in row.text else None

    monkeypatch.setattr(Classification, "training_problem", problem)
    mixture = only(toy_mixture, "cause", f"tasks.cause.data.on_bad_row={'skip' if skips else 'error'}")
    rows = [{"text": "a", "label": "no"}, {"text": "x", "label": "yes"}]
    for split in ("train", "dev", "test"):
        (tmp_path / "cause" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if not skips:
        with pytest.raises(InputError) as caught:
            prepared(mixture)
        assert [found.key for found in caught.value.problems] == ["tasks.cause.train (row train-2)"]
        return
    found = {split: content.example_summary for split, content in prepared(mixture)["cause"].items()}
    assert {split: (one.used, one.num_refused) for split, one in found.items()} == {
        "train": (1, 1),
        "dev": (2, 0),
        "test": (2, 0),
    }


def test_examples_have_the_weights_and_soft_labels_of_their_rows(toy_mixture: Write, tmp_path: Path) -> None:
    plain = prepared(only(toy_mixture, "cause"))["cause"]["train"].examples
    assert not any("weight" in example for example in plain)
    rows = [
        {"text": "a", "label": "no"},
        {"text": "b", "label": "yes", "source": "m", "score": 0.2},
        {"text": "c", "probabilities": {"no": 0.25, "yes": 0.75}, "source": "m", "score": 0.9, "weight": 0.5},
    ]
    mixture = only(toy_mixture, "cause", "tasks.cause.data.sources={m: {weight: 0.5, min_score: 0.5}}")
    (tmp_path / "cause" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = prepared(mixture)["cause"]["train"]
    found = [(one["label"], one["probabilities"], one["weight"], one["targets"]) for one in content.examples]
    assert found == [(0, [-1.0, -1.0], 1.0, 1), (-100, [0.25, 0.75], 0.25, 1)]
    assert accounts(content)["read"] == 2
    assert content.row_summary.left_out == {"weak labels below the minimum score": 1}


def test_a_task_that_shares_rows_keeps_its_unlabelled_rows(toy_mixture: Write) -> None:
    data = prepared(load_mixture(toy_mixture()))
    leader, follower = data["cause"]["train"], data["bleed"]["train"]
    assert follower.example_rows.tolist() == leader.example_rows.tolist() == list(range(26))
    assert (follower.example_summary.used, follower.example_summary.unlabelled) == (17, 9)
    assert accounts(follower)["read"] == 17 + 9
    assert follower.targets.tolist() == [int(n % 3 != 1) for n in range(26)]
    assert [e["input_ids"] for e in follower.examples] == [e["input_ids"] for e in leader.examples]


def test_lengths_and_targets_are_those_of_the_examples(toy_mixture: Write) -> None:
    content = prepared(only(toy_mixture, "drugs", "tasks.drugs.max_length=8"))["drugs"]["train"]
    examples = list(content.examples)
    assert content.lengths.tolist() == [len(example["input_ids"]) for example in examples]
    assert max(content.lengths) <= 8
    assert content.targets.tolist() == [example["targets"] for example in examples]
    assert len(examples) > len(content.rows)
    parts = [example["part"] for example in examples if example["row"] == 0]
    assert parts == list(range(len(parts)))


def test_only_the_requested_splits_are_prepared(toy_mixture: Write) -> None:
    mixture = only(toy_mixture, "drugs")
    heads, tokenizer = build_heads(mixture)
    assert list(prepare(mixture, heads, tokenizer, splits=("test",))["drugs"]) == ["test"]


# --- distributed evaluation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_document_is_evaluated_by_one_rank_and_every_row_by_some_rank(toy_mixture: Write, world: int) -> None:
    content = prepared(only(toy_mixture, "drugs"))["drugs"]["train"]
    ranks = document_ranks(content, world)
    assert len(ranks) == len(content.rows) == 15
    documents: dict[str, set[int]] = {}
    for row, rank in zip(content.rows, ranks.tolist(), strict=True):
        documents.setdefault(row.document, set()).add(rank)
    assert len(documents) == 8
    assert all(len(found) == 1 for found in documents.values())
    assert sorted(set(ranks.tolist())) == list(range(world))
    assert np.array_equal(ranks, document_ranks(content, world))


# --- tasks on the same rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_tasks_with_same_rows_as_must_have_the_same_texts_in_every_split(
    toy_mixture: Write, tmp_path: Path, split: str
) -> None:
    mixture = load_mixture(toy_mixture())
    path = tmp_path / "bleed" / f"{split}.jsonl"
    lines = path.read_text().splitlines()
    last = json.loads(lines[-1])
    path.write_text("\n".join([*lines[:-1], json.dumps({**last, "text": f"{last['text']} ."})]))
    with pytest.raises(InputError, match=rf"tasks\.bleed\.same_rows_as: .*'{split}'"):
        prepared(mixture)
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match=rf"tasks\.bleed\.same_rows_as: .*'{split}'"):
        prepared(mixture)


def test_texts_are_compared_without_reading_a_record_into_python(
    toy_mixture: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = load_mixture(toy_mixture())
    prepared(mixture)

    def refuse(*_: object) -> None:
        raise AssertionError("a record was read")

    for name in ("__iter__", "take"):
        monkeypatch.setattr(StoredTable, name, refuse)
    assert set(prepared(mixture)["bleed"]) == {"train", "dev", "test"}


def test_the_counts_of_rows_add_up_to_the_rows_that_were_read() -> None:
    class Rows:
        rows, num_refused, crossed, limited, excluded = 10, 2, 3, 20, 40

    class Examples:
        used, unlabelled, num_refused = 7, 2, 1

    class Content:
        row_summary, example_summary, examples = Rows, Examples, range(12)

    found = accounts(Content)  # type: ignore[arg-type]
    parts = {"used": 7, "unlabelled": 2, "refused": 3, "crossed": 3, "limited": 20, "excluded": 40}
    assert found == {"read": 75, **parts, "examples": 12}
    assert found["read"] == sum(parts.values())


@pytest.mark.parametrize("characters", [1, 60, 10_000])
def test_chunks_of_long_texts_are_shorter_and_examples_do_not_depend_on_them(
    characters: int, toy_mixture: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mixture = only(toy_mixture, "drugs")
    expected = list(prepared(mixture)["drugs"]["train"].examples)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(examples, "CHARACTERS", characters)
    sizes: list[int] = []
    real = examples._ExampleBuild._encode

    def encode(build: Any, numbered: Any) -> Any:
        if build._split == "train":
            sizes.append(len(numbered))
        return real(build, numbered)

    monkeypatch.setattr(examples._ExampleBuild, "_encode", encode)
    assert list(prepared(mixture)["drugs"]["train"].examples) == expected
    assert sum(sizes) == 15
    assert (len(sizes) == 15, len(sizes) == 1) == (characters == 1, characters == 10_000)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("chunk", ["document", "stream"])
def test_ten_million_words_are_encoded_in_minutes_and_in_the_memory_of_one_million(
    chunk: str, tmp_path: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    if not rss_anon_mib():
        pytest.skip("RssAnon in /proc/self/status is not available")

    def peak_and_seconds(num_words: int) -> tuple[float, float]:
        folder = tmp_path / str(num_words)
        folder.mkdir()
        write_corpus(folder, num_words)
        data = {"reader": "text", "path": str(folder), "chunk": chunk}
        fields = {"name": "corpus", "encoder": {"name": str(tiny_encoder("bert")), "max_length": 128}}
        mixture = Mixture.model_validate({**fields, "tasks": {"mlm": {"head": "masked_lm", "data": data}}})
        heads, tokenizer = build_heads(mixture)
        peaks, done = [rss_anon_mib()], threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                peaks.append(rss_anon_mib())

        thread = threading.Thread(target=watch)
        thread.start()
        start = time.perf_counter()
        split = prepare(mixture, heads, tokenizer, store=store.Store(folder / "cache"))["mlm"]["train"]
        seconds = time.perf_counter() - start
        done.set()
        thread.join()
        assert split.lengths.sum() >= num_words
        return max(peaks), seconds

    (few, _), (many, seconds) = peak_and_seconds(1_000_000), peak_and_seconds(10_000_000)
    assert many - few < 200  # the additional tokens would take gigabytes
    assert seconds < 900


def write_corpus(folder: Path, num_words: int) -> None:
    """Documents of 250 words on average."""
    rng = random.Random(0)
    words = ["aspirin", "fever", "risk", "gene", "cox-2", "metformin", "(celebrex),"]
    with (folder / "train.txt").open("w", encoding="utf-8") as file:
        written = 0
        while written < num_words:
            number = min(rng.randint(50, 450), num_words - written)
            file.write(f"{' '.join(rng.choices(words, k=number))}.\n\n")
            written += number
    (folder / "dev.txt").write_text("The patient was well.", encoding="utf-8")

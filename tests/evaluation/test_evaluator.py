import json
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor

from heads import Example, Head, Prediction, Row, SpanRow, TextRow
from heads._thresholds import best_threshold
from heads._words import words_of
from heads.multilabel import Multilabel
from mtl.batching.batch import Batch, ExampleGroup, collate
from mtl.batching.data_module import MixtureData
from mtl.config.loading import load_mixture
from mtl.evaluation import predictions
from mtl.evaluation.counts_files import write_counts
from mtl.evaluation.evaluator import Evaluator, TaskResult
from mtl.evaluation.predictions import PredictionFiles
from mtl.training.assembly import build_data
from tests import five_tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> MixtureData:
    folder = tmp_path_factory.mktemp("evaluation")
    with five_tasks.surroundings(folder):
        made = build_data(load_mixture(five_tasks.write(folder, tiny_encoder("bert"))))
        made.setup()
    return made


class Seen(dict[str, dict[str, Prediction]]):
    """Predictions by task and row."""

    def take(self, task: str, row: str, prediction: Prediction) -> None:
        assert row not in self.setdefault(task, {}), "a row was scored twice"
        self[task][row] = prediction


def invented_logits(head: Head, task: str, examples: Sequence[Example], fields: dict[str, Tensor]) -> Tensor:
    """Logits that depend only on the example, not on its batch."""
    size = len(getattr(head, "tags", head.labels)) or 1
    lines = []
    for example in examples:
        generator = torch.Generator().manual_seed(hash((len(task), example["row"], example["part"])))
        words = len(example["words"]) if "words" in example else 1
        lines.append(torch.randn(words, size, generator=generator))
    padded = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)
    if "words" not in examples[0]:
        return padded[:, 0]
    width = fields["word_mask"].shape[1]
    return torch.nn.functional.pad(padded, (0, 0, 0, width - padded.shape[1]))


def batches(data: MixtureData, split: str, size: int, seed: int | None) -> Iterator[Batch]:
    picks = [(task, i) for task, content in data.splits(split).items() for i in range(len(content.examples))]
    if seed is not None:
        random.Random(seed).shuffle(picks)
    while picks:
        task = picks[0][0]
        chosen = [pick for pick in picks if pick[0] == task][:size]
        picks = [pick for pick in picks if pick not in chosen]
        examples = data.tasks[task][split].examples.take(np.array([i for _, i in chosen]))
        yield collate([ExampleGroup({task: examples}, {task: 1.0})], data.heads, keep_examples=True)


def evaluate(
    data: MixtureData,
    split: str = "dev",
    *,
    size: int = 3,
    seed: int | None = None,
    tune: bool = False,
    files: PredictionFiles | None = None,
) -> tuple[dict[str, TaskResult], Seen]:
    seen = Seen()
    tuned = data.heads if tune else ()
    evaluator = Evaluator(data.heads, data.splits(split), tune=tuned, on_prediction=seen.take, files=files)
    for batch in batches(data, split, size, seed):
        part = batch.parts[0]
        logits = invented_logits(data.heads[part.task], part.task, part.examples, part.fields)
        evaluator.add(batch, {part.task: logits})
    return evaluator.finish(), seen


def rows(data: MixtureData, task: str, split: str = "dev") -> list[Row]:
    return list(data.tasks[task][split].rows)


def raw(data: MixtureData, task: str, split: str = "dev") -> list[Tensor]:
    """The invented logits of each row of a task with one example per row."""
    examples = data.tasks[task][split].examples.take(np.arange(len(data.tasks[task][split].examples)))
    assert [example["row"] for example in examples] == list(range(len(rows(data, task, split))))
    return list(invented_logits(data.heads[task], task, examples, {}))


def labels_of(row: Row) -> Any:
    assert isinstance(row, TextRow)
    return row.label


def test_scores_of_a_classification_agree_with_scikit_learn(data: MixtureData) -> None:
    results, _ = evaluate(data)
    gold = [labels_of(row) for row in rows(data, "kind")]
    predicted = [("yes", "no")[int(line.argmax())] for line in raw(data, "kind")]
    assert results["kind"].scores["accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    assert results["kind"].scores["macro_f1"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    index = torch.tensor([("yes", "no").index(label) for label in gold])
    loss = torch.nn.functional.cross_entropy(torch.stack(raw(data, "kind")), index)
    assert results["kind"].scores["loss"] == pytest.approx(float(loss))


def test_scores_of_a_multilabel_task_agree_with_scikit_learn(data: MixtureData) -> None:
    results, _ = evaluate(data)
    gold = [[name in labels_of(row) for name in ("heart", "skin")] for row in rows(data, "topics")]
    predicted = [(line.sigmoid() >= 0.5).tolist() for line in raw(data, "topics")]
    for average in ("micro", "macro"):
        expected = f1_score(gold, predicted, average=average, zero_division=0)
        assert results["topics"].scores[f"{average}_f1"] == pytest.approx(expected)
    assert results["topics"].scores["subset_accuracy"] == pytest.approx(accuracy_score(gold, predicted))


def test_scores_of_a_regression_agree_with_scipy(data: MixtureData) -> None:
    results, _ = evaluate(data)
    gold = [labels_of(row) for row in rows(data, "score")]
    predicted = [4 * float(line) for line in raw(data, "score")]
    assert results["score"].scores["pearson"] == pytest.approx(pearsonr(gold, predicted).statistic)
    assert results["score"].scores["spearman"] == pytest.approx(spearmanr(gold, predicted).statistic)
    assert results["score"].scores["mse"] == pytest.approx(np.mean((np.array(gold) - predicted) ** 2))


def test_scores_of_mentions_in_windows_agree_with_seqeval_on_whole_texts(data: MixtureData) -> None:
    content = data.tasks["mentions"]["dev"]
    assert len(content.examples) > len(content.rows), "no text has several windows"
    results, seen = evaluate(data)
    gold, predicted = [], []
    for row in rows(data, "mentions"):
        assert isinstance(row, SpanRow)
        found = seen["mentions"][row.id]["entities"]
        gold.append(tags(row, [(e.type, *e.spans[0]) for e in row.entities]))
        predicted.append(tags(row, [(e["type"], e["start"], e["end"]) for e in found]))
    expected = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
    assert sum(line.count("O") < len(line) for line in predicted) > 3, "nothing was predicted"
    assert results["mentions"].scores["f1"] == pytest.approx(expected["micro avg"]["f1-score"])
    assert results["mentions"].scores["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])


def tags(row: SpanRow, spans: Sequence[tuple[str, int, int]]) -> list[str]:
    out = []
    for start, _ in words_of(row):
        inside = [(kind, begin) for kind, begin, end in spans if begin <= start < end]
        out.append(f"{'B' if inside[0][1] == start else 'I'}-{inside[0][0]}" if inside else "O")
    return out


def test_a_relation_without_a_candidate_pair_counts_as_missed(data: MixtureData) -> None:
    content = data.tasks["links"]["dev"]
    assert content.example_summary.rows_without_examples == [2, 5], "two rows have a relation across sentences"
    results, seen = evaluate(data)
    gold, predicted = set(), set()
    for row in rows(data, "links"):
        assert isinstance(row, SpanRow)
        gold |= {(row.id, r.head, r.tail, r.type) for r in row.relations}
        predicted |= {(row.id, r["head"], r["tail"], r["type"]) for r in seen["links"][row.id]["relations"]}
    true = len(gold & predicted)
    assert len(gold) == five_tasks.SIZES["dev"]
    assert predicted
    assert results["links"].scores["micro_f1"] == pytest.approx(2 * true / (len(gold) + len(predicted)))
    assert results["links"].scores["recall"] == pytest.approx(true / len(gold))


def test_every_row_is_scored_once(data: MixtureData) -> None:
    results, seen = evaluate(data)
    for task in five_tasks.TASKS:
        assert sorted(seen[task]) == sorted(row.id for row in rows(data, task))
        assert results[task].num_rows == len(rows(data, task))


@pytest.mark.parametrize(("size", "seed"), [(1, None), (2, 7), (50, None), (5, 8)])
def test_order_and_size_of_batches_change_nothing(data: MixtureData, size: int, seed: int | None) -> None:
    one, other = evaluate(data)[0], evaluate(data, size=size, seed=seed)[0]
    assert one.keys() == other.keys()
    for task, result in one.items():
        assert result.documents == other[task].documents
        assert all(torch.equal(a, b) for a, b in zip(sorted_counts(result), sorted_counts(other[task]), strict=True))
        assert other[task].scores == pytest.approx(result.scores)


def sorted_counts(result: TaskResult) -> list[Tensor]:
    """The counts of each document; concatenated counts are sorted."""
    return [c if c.ndim == 1 else c[c[:, 0].argsort()] for c in result.counts]


def test_the_scores_follow_from_the_counts_of_documents_on_disk(data: MixtureData, tmp_path: Path) -> None:
    results, _ = evaluate(data)
    for task, result in results.items():
        write_counts(tmp_path / f"{task}.npz", result)
        with np.load(tmp_path / f"{task}.npz") as file:
            stored = dict(file)
        head = data.heads[task]
        counts = torch.from_numpy(stored["counts"])
        again = head.score(counts if head.reduction == "cat" else counts.sum(0))
        assert again == pytest.approx({name: value for name, value in result.scores.items() if name != "loss"})
        assert stored["documents"].tolist() == [f"dev-{i}" for i in range(4)]
        assert sorted(set(stored["owners"].tolist())) == [0, 1, 2, 3]


def test_the_counts_of_a_document_are_those_of_its_rows(data: MixtureData) -> None:
    results, seen = evaluate(data)
    for task, result in results.items():
        head = data.heads[task]
        for document, counts in zip(result.documents, result.counts, strict=True):
            own = [head.counts(seen[task][row.id], row) for row in rows(data, task) if row.document == document]
            assert len(own) == 2
            pooled = torch.cat(own) if head.reduction == "cat" else own[0] + own[1]
            assert head.score(counts) == pytest.approx(head.score(pooled))


def test_a_head_may_score_documents_as_a_whole(data: MixtureData, monkeypatch: pytest.MonkeyPatch) -> None:
    by_row, seen = evaluate(data)
    monkeypatch.setattr(data.heads["topics"], "score_by", "document")
    result = evaluate(data)[0]["topics"]
    gold, predicted = ([set[str]() for _ in result.documents] for _ in range(2))
    for row in rows(data, "topics"):
        assert isinstance(row, TextRow)
        place = result.documents.index(row.document)
        gold[place].update(row.label)
        predicted[place].update(seen["topics"][row.id]["labels"])
    exact = [g == p for g, p in zip(gold, predicted, strict=True)]
    assert result.scores["subset_accuracy"] == pytest.approx(np.mean(exact))
    assert len(result.counts) == len(by_row["topics"].counts) == 4


def test_a_task_without_the_split_has_no_result(data: MixtureData) -> None:
    assert set(evaluate(data, "test")[0]) == set(five_tasks.TASKS) - {"score"}


def test_thresholds_are_tuned_on_dev_and_used_on_test(data: MixtureData) -> None:
    head = data.heads["topics"]
    assert isinstance(head, Multilabel)
    before = head.thresholds.clone()
    try:
        evaluate(data, "test")
        assert torch.equal(head.thresholds, before), "an evaluation on test does not tune"
        tuned_scores = evaluate(data, tune=True)[0]["topics"].scores["micro_f1"]
        probabilities = torch.stack(raw(data, "topics")).sigmoid()
        gold = torch.tensor([[name in labels_of(row) for name in head.labels] for row in rows(data, "topics")])
        expected = [best_threshold(p, g) for p, g in zip(probabilities.T, gold.T, strict=True)]
        assert head.thresholds.tolist() == pytest.approx(expected)
        assert not torch.equal(head.thresholds, before), "the data should change a threshold"
        predicted = probabilities >= head.thresholds
        assert tuned_scores == pytest.approx(f1_score(gold, predicted, average="micro"))
        on_test = torch.stack(raw(data, "topics", "test")).sigmoid() >= head.thresholds
        gold_test = [[name in labels_of(row) for name in head.labels] for row in rows(data, "topics", "test")]
        found = evaluate(data, "test")[0]["topics"].scores["micro_f1"]
        assert found == pytest.approx(f1_score(gold_test, on_test, average="micro"))
    finally:
        head.thresholds.copy_(before)


def test_a_task_without_scored_rows_has_undefined_scores(data: MixtureData) -> None:
    result = Evaluator(data.heads, data.splits("dev"), tune=()).finish()["kind"]
    assert set(result.scores) == {"loss", *data.heads["kind"].metrics}
    assert all(np.isnan(value) for value in result.scores.values())
    assert (result.num_rows, result.documents) == (0, [])


def test_a_row_that_was_seen_only_partly_is_not_scored(data: MixtureData) -> None:
    content = data.tasks["mentions"]["dev"]
    several = next(row for row in range(len(content.rows)) if (content.example_rows == row).sum() > 1)
    seen = Seen()
    evaluator = Evaluator(data.heads, {"mentions": content}, tune=(), on_prediction=seen.take)
    first = np.flatnonzero(content.example_rows == several)[:1]
    batch = collate(
        [ExampleGroup({"mentions": content.examples.take(first)}, {"mentions": 1.0})], data.heads, keep_examples=True
    )
    part = batch.parts[0]
    evaluator.add(batch, {"mentions": invented_logits(data.heads["mentions"], "mentions", part.examples, part.fields)})
    assert evaluator.finish()["mentions"].num_rows == 0
    assert seen == {}


# --- saved predictions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_text", [False, True])
def test_predictions_are_saved_by_task_in_the_order_of_decoding(
    data: MixtureData, tmp_path: Path, with_text: bool
) -> None:
    files = PredictionFiles(tmp_path / "dev", data.splits("dev"), with_text=with_text)
    _, seen = evaluate(data, seed=1, tune=True, files=files)
    files.close()
    merged = files.merge()
    assert sorted(merged) == sorted((tmp_path / "dev").iterdir()) == sorted(tmp_path / f"dev/{t}.jsonl" for t in seen)
    for path in merged:
        lines = five_tasks.read_lines(path)
        expected = json.loads(json.dumps(seen[path.stem]))
        assert [(line["id"], line["prediction"]) for line in lines] == list(expected.items())
        texts = {row.id: (row.text, row.text_pair) for row in rows(data, path.stem)}
        for line in lines:
            assert set(line) == {"id", "prediction", *(("text", "text_pair") if with_text else ())}
            assert not with_text or (line["text"], line["text_pair"]) == texts[line["id"]]


def test_a_saved_prediction_is_not_kept_in_memory(
    data: MixtureData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made(list[Any]):
        """A prediction that can be counted."""

    alive: weakref.WeakSet[Made] = weakref.WeakSet()
    most = 0

    def decode(*_: Any) -> Made:
        nonlocal most
        made = Made()
        Made.__hash__ = object.__hash__  # type: ignore[method-assign, assignment]
        alive.add(made)
        most = max(most, len(alive))
        return made

    content = data.tasks["mentions"]["dev"]
    monkeypatch.setattr(data.heads["mentions"], "decode", decode)
    monkeypatch.setattr(data.heads["mentions"], "counts", lambda *_: torch.zeros(1))
    monkeypatch.setattr(data.heads["mentions"], "score", lambda _: {})
    monkeypatch.setattr(data.heads["mentions"], "report", lambda _: None)
    files = PredictionFiles(tmp_path / "dev", ["mentions"])
    evaluator = Evaluator(data.heads, {"mentions": content}, tune=(), files=files)
    for batch in batches(data, "dev", 3, None):
        if batch.parts[0].task == "mentions":
            part = batch.parts[0]
            logits = invented_logits(data.heads["mentions"], "mentions", part.examples, part.fields)
            evaluator.add(batch, {"mentions": logits})
    evaluator.finish()
    files.close()
    (path,) = files.merge()
    assert len(five_tasks.read_lines(path)) == len(content.rows) > 2
    assert most <= 2


def test_discarded_predictions_leave_no_parts_and_do_not_change_earlier_files(
    data: MixtureData, tmp_path: Path
) -> None:
    for number in range(2):
        files = PredictionFiles(tmp_path / "dev", data.splits("dev"))
        evaluate(data, files=files)
        if number == 0:
            files.discard()  # as after an evaluation that failed
            assert list(tmp_path.iterdir()) == []
            continue
        files.close()
        merged = files.merge()
    PredictionFiles(tmp_path / "dev", data.splits("dev")).discard()
    assert sorted((tmp_path / "dev").iterdir()) == sorted(merged)
    assert all(path.stat().st_size for path in merged)


def test_the_parts_of_all_ranks_are_merged_in_the_order_of_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "world_size", lambda: 3)
    monkeypatch.setattr(predictions, "gather", lambda value: [value] * 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(predictions, "rank", lambda rank=rank: rank)
        parts.append(PredictionFiles(tmp_path, ["kind"]))
    for n in range(7):
        parts[n % 3].add("kind", TextRow(f"r{n}", "d", "a text"), "yes")
    for files in parts:
        files.close()
    parts[0].merge()
    (path,) = tmp_path.iterdir()
    assert [line["id"] for line in five_tasks.read_lines(path)] == ["r0", "r3", "r6", "r1", "r4", "r2", "r5"]
    assert "a text" not in path.read_text()

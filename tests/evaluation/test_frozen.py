"""States of the encoder without fine-tuning, and scores of linear models on them from the cache."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from heads import Head, PooledInput
from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec, Mixture
from mtl.data.examples import TaskData
from mtl.data.store import Store
from mtl.evaluation import frozen
from mtl.evaluation.baselines import score_predictions, trivial_baselines, usable_rows
from mtl.evaluation.frozen import FrozenBaseline, FrozenModel, FrozenStates
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_data
from tests import five_tasks

Encoder = Callable[[str], Path]
CPU = torch.device("cpu")
REPOSITORY = Path(__file__).parents[2]


class Prepared:
    """The five synthetic tasks, and the number of inputs that the encoder has read."""

    def __init__(self, folder: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MTL_CACHE", str(folder / "cache"))
        self.mixture: Mixture = load_mixture(five_tasks.write(folder, encoder))
        data = build_data(self.mixture)
        data.setup()
        self.heads: Mapping[str, Head] = data.heads
        self.tasks: Mapping[str, TaskData] = data.tasks
        self.num_inputs = 0
        states = FrozenModel.states

        def counted(model: FrozenModel, fields: Sequence[Any]) -> Any:
            self.num_inputs += len(fields)
            return states(model, fields)

        monkeypatch.setattr(FrozenModel, "states", counted)

    def scores(self, split: str = "dev", **changes: Any) -> dict[str, Any]:
        """The scores of all tasks, by an object of its own, as in another run."""
        baseline = FrozenBaseline(self.mixture.model_copy(update=changes))
        found = {task: baseline(task, self.heads[task], self.tasks[task], split) for task in self.heads}
        assert baseline.problem is None
        return found


@pytest.fixture
def prepared(tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    return Prepared(tmp_path, tiny_encoder("bert"), monkeypatch)


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "distilbert", "modernbert"])
def test_means_are_those_of_the_encoders_own_states(
    family: str, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batched by length, packed or padded, in evaluation mode; checked against transformers, one text at a time."""
    from transformers import AutoModel, AutoTokenizer

    monkeypatch.setattr(frozen, "TOKENS", 16)
    folder = tiny_encoder(family)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["aspirin reduces fever and nausea", "no", "the gene of the cell is not a protein", "fever"]
    groups: list[list[Sequence[int]]] = [[range(7), [0], [2, 3]], [[1]], [], [range(3), [1]]]
    encoded = [tokenizer(text) for text in texts]
    inputs = [PooledInput(fields, own) for fields, own in zip(encoded, groups, strict=True)]
    found = FrozenStates(FrozenModel(EncoderSpec(name=str(folder), dropout=0.5), CPU), 128).means(inputs)
    assert [means.shape for means in found] == [(3, 16), (1, 16), (0, 16), (2, 16)]
    for fields, own, means in zip(encoded, groups, found, strict=True):
        with torch.no_grad():
            states = model(input_ids=torch.tensor([fields["input_ids"]])).last_hidden_state[0].numpy()
        for group, mean in zip(own, means, strict=True):
            np.testing.assert_allclose(mean, states[list(group)].mean(axis=0), rtol=1e-4, atol=1e-5)


def test_only_the_layers_that_the_mixture_keeps_are_computed(tiny_encoder: Encoder) -> None:
    from transformers import AutoModel

    folder = tiny_encoder("bert")
    spec = EncoderSpec(name=str(folder), num_layers=1)
    (means,) = FrozenStates(FrozenModel(spec, CPU), 128).means([PooledInput({"input_ids": [2, 9, 3]}, [[1]])])
    with torch.no_grad():
        output = AutoModel.from_pretrained(folder).eval()(torch.tensor([[2, 9, 3]]), output_hidden_states=True)
    np.testing.assert_allclose(means[0], output.hidden_states[1][0, 1].numpy(), rtol=1e-4, atol=1e-5)


def test_the_runs_random_draws_and_settings_stay_as_they_are(prepared: Prepared) -> None:
    torch.manual_seed(5)
    before, precision, gradients = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
    of_numpy = np.random.get_state()[1].tolist()
    prepared.scores()
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (precision, gradients)
    assert np.random.get_state()[1].tolist() == of_numpy


# --- scores -----------------------------------------------------------------------------------------------------------


def test_every_task_has_the_scores_of_its_linear_model(prepared: Prepared) -> None:
    found = prepared.scores()
    for task, head in prepared.heads.items():
        states = FrozenStates(FrozenModel(prepared.mixture.encoder, CPU), prepared.mixture.max_length_of(task))
        rows = usable_rows(head, prepared.tasks[task]["dev"].rows)
        weights = head.fit_frozen(usable_rows(head, prepared.tasks[task]["train"].rows), states)
        assert weights is not None
        predictions = [head.predict_frozen([row], weights, states)[0] for row in rows]
        if head.is_tuned:
            decide = head.tuned_decision(rows, predictions)
            assert decide is not None
            predictions = [decide(one) for one in predictions]
        assert found[task] == pytest.approx(score_predictions(head, rows, predictions), abs=1e-6)


def test_words_of_a_text_longer_than_the_maximum_length_are_predicted_in_windows(prepared: Prepared) -> None:
    head = prepared.heads["mentions"]
    states = FrozenStates(FrozenModel(prepared.mixture.encoder, CPU), 24)
    rows = [
        row
        for row in usable_rows(head, prepared.tasks["mentions"]["train"].rows)
        if len(head.encode([row], states.tokenizer, states.max_length, training=False)) > 1
    ]
    weights = np.zeros((17, 5), dtype=np.float32)
    weights[-1, 1] = 1.0  # every word begins an entity
    for row, prediction in zip(rows, head.predict_frozen(rows, weights, states), strict=True):
        assert max(entity["end"] for entity in prediction["entities"]) == len(row.text)
    assert rows


def test_frozen_stands_next_to_the_other_trivial_predictors(prepared: Prepared) -> None:
    found = trivial_baselines(prepared.heads, prepared.tasks, "dev", FrozenBaseline(prepared.mixture))
    assert {task: scores["frozen"] for task, scores in found.items()} == prepared.scores()
    without = trivial_baselines(prepared.heads, prepared.tasks, "dev")
    assert all("frozen" not in scores for scores in without.values())
    assert without == {task: {n: v for n, v in scores.items() if n != "frozen"} for task, scores in found.items()}


def test_a_head_without_the_predictor_is_left_out(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    head = prepared.heads["kind"]
    monkeypatch.setattr(type(head), "fit_frozen", Head.fit_frozen)
    baseline = FrozenBaseline(prepared.mixture)
    for _ in range(2):
        assert baseline("kind", head, prepared.tasks["kind"], "dev") is None
    assert (baseline.problem, prepared.num_inputs) == (None, 0)


def test_an_encoder_that_is_not_available_is_a_problem_and_no_error(prepared: Prepared, tmp_path: Path) -> None:
    encoder = prepared.mixture.encoder.model_copy(update={"name": str(tmp_path / "gone")})
    baseline = FrozenBaseline(prepared.mixture.model_copy(update={"encoder": encoder}))
    assert baseline("kind", prepared.heads["kind"], prepared.tasks["kind"], "dev") is None
    assert baseline.problem is not None
    assert "gone" in baseline.problem


# --- the cache --------------------------------------------------------------------------------------------------------


def test_scores_are_computed_once_and_weights_serve_other_splits(prepared: Prepared) -> None:
    first = prepared.scores()
    assert prepared.num_inputs > 0
    prepared.num_inputs = 0
    assert prepared.scores() == first
    assert prepared.num_inputs == 0
    prepared.scores("train")
    of_train = prepared.num_inputs
    prepared.num_inputs = 0
    prepared.scores("train", seed=7)
    assert prepared.num_inputs == 0, "the seed of the run has no influence"
    test = {task: splits for task, splits in prepared.tasks.items() if "test" in splits}
    baseline = FrozenBaseline(prepared.mixture)
    assert all(baseline(task, prepared.heads[task], splits, "test") for task, splits in test.items())
    assert 0 < prepared.num_inputs < of_train


def test_other_settings_that_decide_the_scores_are_computed_anew(prepared: Prepared) -> None:
    prepared.scores()
    for changes in ({"max_length": 20}, {"num_layers": 1}):
        prepared.num_inputs = 0
        prepared.scores(encoder=prepared.mixture.encoder.model_copy(update=changes))
        assert prepared.num_inputs > 0


def test_layers_that_training_draws_anew_are_those_of_the_encoder_here(prepared: Prepared) -> None:
    encoder = prepared.mixture.encoder
    redrawn = prepared.scores(encoder=encoder.model_copy(update={"reinit_layers": 1}))
    num_computed, prepared.num_inputs = prepared.num_inputs, 0
    assert prepared.scores() == redrawn
    assert prepared.num_inputs == 0 < num_computed
    found = FrozenModel(encoder.model_copy(update={"reinit_layers": 1}), CPU).states([{"input_ids": [2, 9, 3]}])
    assert np.array_equal(found, FrozenModel(encoder, CPU).states([{"input_ids": [2, 9, 3]}]))


def test_other_training_rows_are_fitted_anew(prepared: Prepared, tmp_path: Path) -> None:
    first = prepared.scores()["kind"]
    path = tmp_path / "kind" / "train.jsonl"
    rows = five_tasks.read_lines(path)
    five_tasks.write_lines(path, [{**row, "label": "no" if row["label"] == "yes" else "yes"} for row in rows])
    data = build_data(prepared.mixture.only(["kind"]))
    data.setup()
    turned = FrozenBaseline(prepared.mixture)("kind", data.heads["kind"], data.tasks["kind"], "dev")
    assert first is not None
    assert turned is not None
    assert turned["accuracy"] == pytest.approx(1 - first["accuracy"])


def test_its_threshold_is_chosen_on_dev_and_follows_the_rows_there(prepared: Prepared, tmp_path: Path) -> None:
    options = {"positive": "yes", "threshold": {"sensitivity": 0.95}}
    spec = prepared.mixture.tasks["kind"].model_copy(update={"options": options})
    mixture = prepared.mixture.only(["kind"]).model_copy(update={"tasks": {"kind": spec}})
    path = tmp_path / "kind" / "dev.jsonl"
    rows = five_tasks.read_lines(path)
    turned = [{**row, "label": "no" if row["label"] == "yes" else "yes"} for row in rows]
    found = []
    for dev in (rows, turned):  # whose "yes" has the lower probabilities
        five_tasks.write_lines(path, dev)
        data = build_data(mixture)
        data.setup()
        scores = FrozenBaseline(mixture)("kind", data.heads["kind"], data.tasks["kind"], "test")
        assert scores is not None
        found.append((scores["sensitivity"], scores["specificity"]))
    assert found == [(1.0, 1.0), (1.0, 0.0)]


def test_the_cache_holds_weights_and_scores_which_only_their_owner_may_read(prepared: Prepared) -> None:
    store = Store()
    before = set(store.folder.rglob("*"))
    prepared.scores()
    new = [path for path in store.folder.rglob("*") if path not in before and path.is_file()]
    assert len([path for path in new if path.suffix == ".arrow"]) == 2 * len(prepared.heads)
    assert {stat.S_IMODE(path.stat().st_mode) for path in new} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in new} == {0o700}
    assert all(five_tasks.SECRET.encode() not in path.read_bytes() for path in new)


SCRIPT = """
import json, sys
from mtl.config.loading import load_mixture
from mtl.evaluation import frozen
from mtl.training.assembly import build_data

passes = []
states = frozen.FrozenModel.states
frozen.FrozenModel.states = lambda model, fields: passes.append(1) or states(model, fields)
mixture = load_mixture(sys.argv[1]).only(["kind"])
data = build_data(mixture)
data.setup()
scores = frozen.FrozenBaseline(mixture)("kind", data.heads["kind"], data.tasks["kind"], "dev")
print(json.dumps([scores, len(passes)]))
"""


@pytest.mark.slow
def test_one_of_two_processes_computes_and_the_other_waits(prepared: Prepared, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    words = [sys.executable, str(script), str(tmp_path / "five.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    (one, passes), (other, more) = (json.loads(process.communicate(timeout=300)[0]) for process in started)
    assert one == other
    assert min(passes, more) == 0 < max(passes, more)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_is_the_same_to_the_last_bit_with_and_without_frozen(tmp_path: Path, tiny_encoder: Encoder) -> None:
    """The states are those of the encoder before training, and the run resumes from checkpoints that are equal."""
    runs = {}
    for choice in ("true", "false"):
        folder = tmp_path / choice
        folder.mkdir()
        options = ("--run.track=false", f"--run.frozen={choice}")
        runs[choice] = five_tasks.train(folder, tiny_encoder("bert"), *options)
        five_tasks.test(folder, *options)
    weights = {
        choice: torch.load(RunFolder(run).resolve_checkpoint("last"), weights_only=True)["state_dict"]
        for choice, run in runs.items()
    }
    assert all(torch.equal(value, weights["false"][name]) for name, value in weights["true"].items())
    found = {choice: json.loads((run / "baselines.json").read_text()) for choice, run in runs.items()}
    assert all("frozen" not in scores for split in found["false"].values() for scores in split.values())
    with five_tasks.surroundings(tmp_path / "true"):
        mixture = load_mixture(yaml.safe_load((runs["true"] / "mixture.yaml").read_text()))
        data = build_data(mixture)
        data.setup()
        untrained = FrozenBaseline(mixture, store=Store(tmp_path / "anew"))
        for task, splits in data.tasks.items():
            for split in [name for name in ("dev", "test") if name in splits]:
                scores = untrained(task, data.heads[task], splits, split)
                assert found["true"][split][task]["frozen"] == pytest.approx(scores, abs=1e-6)

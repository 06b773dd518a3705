"""A predictor that is loaded once gives what `predict` gives, to one caller after the other and to several at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from mtl.config.loading import load_mixture
from mtl.encoder.model import Encoder
from mtl.prediction import trained_model
from mtl.prediction.predicting import predict
from mtl.prediction.predictor import Predictor
from mtl.problems import InputError
from tests.trained_runs import saved_run

TEXTS = ["aspirin reduces fever", "no bleeding", "the risk of cancer"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "x"}}
    mixture = {"name": "m", "encoder": {"name": str(tiny_encoder("bert"))}, "tasks": {"kind": task}}
    return saved_run(tmp_path_factory.mktemp("predictor"), load_mixture(mixture))[0].path


def test_weights_are_loaded_once_for_several_inputs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [predict(run, [text]) for text in TEXTS]
    loaded = []
    build = trained_model.build_module

    def counted(*arguments: Any, **options: Any) -> Any:
        loaded.append(1)
        return build(*arguments, **options)

    monkeypatch.setattr(trained_model, "build_module", counted)
    one = Predictor(run)
    assert not loaded
    one.load()
    assert [one.predict([text]) for text in TEXTS] == expected
    assert len(loaded) == 1


def test_several_threads_get_the_predictions_of_their_own_texts(run: Path) -> None:
    one = Predictor(run)
    expected = [one.predict([text]) for text in TEXTS]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda text: one.predict([text]), TEXTS * 4)) == expected * 4


@pytest.mark.parametrize("name", [None, "out.jsonl"])
def test_without_enough_memory_a_prediction_is_a_problem_and_a_request_to_a_server_is_not(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Encoder, "forward", fail)
    with pytest.raises(InputError) as caught:
        predict(run, TEXTS, None if name is None else tmp_path / name)
    assert [problem.key for problem in caught.value.problems] == ["--trainer.accelerator"]
    assert " kind with " in caught.value.problems[0].message
    with pytest.raises(torch.OutOfMemoryError):
        Predictor(run).predict(TEXTS)

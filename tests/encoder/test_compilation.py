import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.commands import run
from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec
from mtl.encoder.compilation import compile_encoder
from mtl.encoder.model import Encoder
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from tests.tiny_sizes import PACKED

COMPILED = ("bert", "modernbert", "eurobert")
"""Families that differ in the code that is compiled; the others are like BERT."""


def load(folder: Path, **fields: Any) -> Encoder:
    spec = EncoderSpec(name=str(folder), **{"dropout": 0.0, "num_layers": 1, **fields})
    return load_encoder(spec, load_tokenizer(spec), seed=0)


@pytest.fixture
def encoder(tiny_encoder: Callable[[str], Path]) -> Encoder:
    return load(tiny_encoder("bert"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # from torch's own import
@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in COMPILED else [pytest.mark.soak]) for name in PACKED]
)
def test_a_compiled_encoder_gives_the_same_states_for_any_shape_and_keeps_its_weights_names(
    family: str, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The graph is traced, but no code is generated, which takes a minute; the test below does that.
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compile_module(self, backend="eager", **options)
    )
    encoder = load(tiny_encoder(family))
    layouts = [Layout([7, 3, 5]), Layout([12, 1, 90, 9, 4])]
    batches = [(torch.randint(5, 20, (layout.num_tokens,)), layout) for layout in layouts]
    plain = [encoder(*batch) for batch in batches]
    names = list(encoder.state_dict())
    compile_encoder(encoder)
    assert all(parameter.grad is None for parameter in encoder.parameters())
    for batch, states in zip(batches, plain, strict=True):
        torch.testing.assert_close(encoder(*batch), states, rtol=1e-4, atol=1e-5)
    assert list(encoder.state_dict()) == names


def test_a_failed_compilation_is_reported_with_the_reason(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*_: Any) -> Any:
        raise RuntimeError("no compiler found\nand more")

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compile_module(self, backend=backend))
    with pytest.raises(InputError, match=r"model\.compile: .*: no compiler found"):
        compile_encoder(encoder)


def test_a_frozen_encoder_is_compiled_without_a_backward_pass(
    tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[torch.Tensor] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
    monkeypatch.setattr(torch.Tensor, "backward", lambda self, *_, **__: passes.append(self))
    compile_encoder(load(tiny_encoder("bert"), freeze_layers=1))
    assert passes == []
    compile_encoder(load(tiny_encoder("bert")))
    assert len(passes) == 1


def test_the_test_passes_use_the_device_precision_and_modes_of_the_run(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen_by(module: Any) -> tuple[Any, ...]:
        weight = next(module.encoder.parameters())
        modes = module.encoder.training, torch.is_inference_mode_enabled()
        return *modes, torch.is_autocast_enabled("cpu"), weight.device, module.encoder.config._attn_implementation

    def watch(module: Any, data: Any) -> None:
        module.encoder.register_forward_hook(lambda *_: seen.append(seen_by(module)))
        module.on_train_start = lambda: seen.append("training")

    seen: list[Any] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
    mixture = load_mixture(toy_mixture()).only(["risk"])
    options = {"precision": "bf16-mixed", "max_steps": 1, "val_check_interval": 1}
    train(mixture, before=watch, model={"compile": True}, **options)
    begins = seen.index("training")
    assert seen[:begins] == [seen[begins + 1], seen[-1]]
    assert [(training, autocast) for training, _, autocast, *_ in seen[:begins]] == [(True, True), (False, True)]


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from the libraries
def test_a_checkpoint_of_a_compiled_run_has_the_same_scores_without_compilation(
    toy_mixture: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    mixture = toy_mixture()
    words = [f"--mixture={mixture}", "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--run.track=false"]
    words += ["--trainer.enable_progress_bar=false"]
    ended = run(["fit", *words, "--model.compile=true", "--trainer.max_epochs=1", "--trainer.limit_train_batches=5"])
    printed = capsys.readouterr().err
    if "model.compile: " in printed:
        assert ended == 2
        pytest.skip(printed)
    assert ended == 0, printed
    folder = RunFolder.latest(tmp_path / "runs", "toy")
    trained = json.loads((folder.path / "metrics.json").read_text())["dev"]
    assert run(["validate", *words, "--ckpt_path=best"]) == 0
    alone = json.loads((folder.path / "metrics.json").read_text())["dev"]
    alone["drugs"] = {name: alone["drugs"][name] for name in trained["drugs"]}  # `validate` also scores seen mentions
    assert alone == {task: pytest.approx(scores, abs=1e-4) for task, scores in trained.items()}

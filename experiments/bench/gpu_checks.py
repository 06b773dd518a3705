"""The checks of `gpu.py`: training on a device is that of the CPU.

Each check raises AssertionError where it is not, and returns what it found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from contestants import batch_loss, our_batches
from gpu_trial import Trial, write_encoder
from torch import Tensor

from mtl.seeding import seed_dropout

if TYPE_CHECKING:
    from mtl.encoder.model import Encoder

FAMILIES = ("bert", "modernbert", "eurobert")
"""Model families whose packed pass is checked: absolute positions, local windows, rotary positions."""


def loaded(trial: Trial, family: str = "bert") -> Encoder:
    """An encoder of a family without dropout."""
    from mtl.config.mixture import EncoderSpec
    from mtl.encoder.pretrained import load_encoder, load_tokenizer

    folder = trial.encoder if family == "bert" else write_encoder(trial.work / f"random_{family}", trial.size, family)
    spec = EncoderSpec(name=str(folder), dropout=0.0)
    encoder = load_encoder(spec, load_tokenizer(spec), seed=0)
    assert encoder.packs, f"{family} is not packed"
    return encoder


def sequences(seed: int = 0) -> list[list[int]]:
    """Random token ids of sequences of mixed lengths, the shortest and the longest among them."""
    random = np.random.default_rng(seed)
    lengths = [1, 128, *random.integers(5, 100, 30)]
    return [random.integers(5, 90, length).tolist() for length in lengths]


def states(encoder: Encoder, ids: list[list[int]], device: str, dtype: torch.dtype) -> Tensor:
    """States [B, T, H] of a packed batch on a device, computed in a precision."""
    from mtl.encoder.packing import Layout

    layout = Layout([len(row) for row in ids])
    tokens, layout = layout.packed(ids).to(device), layout.map(lambda values: values.to(device))
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        found: Tensor = encoder.to(device)(tokens, layout)
    return found


def kernel(trial: Trial) -> dict[str, Any]:
    """States and gradients on the device equal those of the CPU in fp32, within the rounding of the precision.

    Differences are relative, as norms. Those of bf16 on a CPU are 0.002 and 0.003 for a BERT of 6 layers; attention
    that reads padding changes both by 0.05 or more.

    In bf16 on a GPU, FlashAttention for sequences of different lengths computes the attention. ModernBERT's local
    windows run there from CUDA graphs only.
    """
    ids, found = sequences(), {}
    for family in FAMILIES:
        encoder = loaded(trial, family)
        exact = states(encoder, ids, "cpu", torch.float32)
        # Of a random projection, since the mean square of normed states hardly depends on the weights.
        projection = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
        (exact * projection).mean().backward()
        expected = {n: weight.grad.clone() for n, weight in encoder.named_parameters() if weight.grad is not None}
        norm = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
        for dtype, states_bound, gradient_bound in ((torch.float32, 1e-4, 1e-4), (torch.bfloat16, 0.01, 0.03)):
            if dtype == torch.bfloat16:
                use_graphs(encoder, family, trial)
            encoder.zero_grad()
            here = states(encoder, ids, trial.device, dtype)
            (here.float() * projection.to(trial.device)).mean().backward()
            weights = [(n, w.grad.cpu()) for n, w in encoder.named_parameters() if w.grad is not None]
            gradients = float(torch.stack([(gradient - expected[n]).norm() for n, gradient in weights]).norm() / norm)
            name = f"{family}_{str(dtype).removeprefix('torch.')}"
            found[f"{name}_states"] = float((here.cpu() - exact).norm() / exact.norm())
            found[f"{name}_gradients"] = gradients
            assert found[f"{name}_states"] < states_bound, found
            assert gradients < gradient_bound, found
            del here, weights  # the memory of a graph, which the next one would share
        no_failure(encoder)
    return found


def use_graphs(encoder: Encoder, family: str, trial: Trial) -> None:
    """Lets CUDA graphs compute the states of a family whose kernel runs nowhere else."""
    if family == "modernbert" and trial.device == "cuda":
        encoder.use_graphs()


def isolation(trial: Trial) -> dict[str, Any]:
    """Changing one sequence changes no bit of the states of the others."""
    ids = sequences()
    changed = [[(token + 1) % 90 + 5 for token in row] if n == 3 else row for n, row in enumerate(ids)]
    others = [n for n in range(len(ids)) if n != 3]
    for family in FAMILIES:
        encoder = loaded(trial, family)
        use_graphs(encoder, family, trial)
        # A graph returns the same memory each time.
        before, after = (states(encoder, of, trial.device, torch.bfloat16).detach().clone() for of in (ids, changed))
        assert not torch.equal(before[3], after[3]), family
        assert torch.equal(before[others], after[others]), family
        no_failure(encoder)
    return {"sequences": len(ids), "families": " ".join(FAMILIES)}


def trained(
    trial: Trial,
    precision: str,
    device: str,
    *overrides: str,
    updates: int = 20,
    graphs: bool = False,
    save: Path | None = None,
    resume: Path | None = None,
) -> tuple[Any, list[float]]:
    """The module and the loss of every update of a training; fp32 products are in full precision.

    Args:
        trial: What all steps share.
        precision: Lightning's name for the precision.
        device: cuda or cpu.
        overrides: Changes of the mixture.
        updates: Number of updates.
        graphs: Whether it trains with CUDA graphs.
        save: A checkpoint to write after half of the updates.
        resume: A checkpoint to resume.
    """
    import pytorch_lightning as pl

    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data, build_module

    mixture = load_mixture(trial.mixture(16), overrides)
    losses: list[Tensor] = []

    class Losses(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if precision == "32-true":  # training itself lets a GPU round factors to TF32
                torch.set_float32_matmul_precision("highest")

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            losses.append(outputs["loss"].detach())
            if save is not None and trainer.global_step == updates // 2:
                trainer.save_checkpoint(save)

    module, data = build_module(mixture, learning_rate=1e-4, cuda_graphs=graphs), build_data(mixture)
    steps: dict[str, Any] = {"precision": precision, "max_steps": updates, "max_epochs": -1}
    trainer = pl.Trainer(**quiet(device), **steps, callbacks=[Losses()])
    trainer.fit(module, datamodule=data, ckpt_path=None if resume is None else str(resume))
    trainer.validate(module, datamodule=data, verbose=False)
    return module, [float(loss) for loss in losses]


def quiet(device: str) -> dict[str, Any]:
    """Arguments of a trainer on one device that leaves no files."""
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    kept = {"accelerator": "gpu" if device == "cuda" else "cpu", "devices": 1, "gradient_clip_val": 1.0}
    return {**dict.fromkeys(names, False), **kept, "num_sanity_val_steps": 0, "limit_val_batches": 4}


TASKS = ("adverse_events", "topics", "similarity", "mentions", "relations")
HEADS_WITHOUT_DROPOUT = [f"tasks.{task}.options.dropout=0" for task in TASKS]
WITHOUT_DROPOUT = ["encoder.dropout=0", *HEADS_WITHOUT_DROPOUT]


def losses(trial: Trial) -> dict[str, Any]:
    """Without dropout, 20 updates give the losses of the CPU; every head is trained and evaluated."""
    _, expected = trained(trial, "32-true", "cpu", *WITHOUT_DROPOUT)
    found: dict[str, Any] = {}
    for precision, bound in (("32-true", 1e-4), ("bf16-mixed", 0.1)):
        module, here = trained(trial, precision, trial.device, *WITHOUT_DROPOUT)
        found[precision] = max(abs(a - b) / (1 + abs(b)) for a, b in zip(here, expected, strict=True))
        assert found[precision] < bound, found
        assert set(module.results["dev"]) == set(TASKS)
    return found


def dropout(trial: Trial) -> dict[str, Any]:
    """Dropout is drawn from the seed and the step: a batch has other losses with other seeds, a training the same."""
    (_, first), (_, second) = (trained(trial, "bf16-mixed", trial.device, updates=8) for _ in range(2))
    return {**reseeded(trial, graphs=False), **same(first, second)}


def reseeded(trial: Trial, *, graphs: bool) -> dict[str, Any]:
    """The losses of one batch with the same seed of dropout agree, and differ from that with another seed.

    Only the encoder has dropout, so that that of a head cannot hide a mask that never changes.
    """
    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_module

    mixture = load_mixture(trial.mixture(16), HEADS_WITHOUT_DROPOUT)
    module = build_module(mixture).to(trial.device).train()
    if graphs and trial.device == "cuda":
        module.encoder.use_graphs()
    batch = our_batches(mixture, 1)[0].to(trial.device)
    found = []
    for seed in (0, 0, 1):
        seed_dropout(seed, module.device)
        with torch.autocast(trial.device, dtype=torch.bfloat16):
            loss = batch_loss(module, batch)
        loss.backward()
        module.zero_grad()
        found.append(float(loss))
    no_failure(module.encoder)
    first, again, other = found
    assert abs(first - again) < 1e-5, found
    assert abs(first - other) > 1e-4, found
    return {"other_seed": abs(first - other)}


def same(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """The losses of two trainings agree, as far as the backward pass of FlashAttention rounds alike each time."""
    largest = max(abs(a - b) for a, b in zip(first, second, strict=True))
    assert largest < 1e-2, (first, second)
    return {"largest_difference": largest, "bit_identical": list(first) == list(second)}


def graphs(trial: Trial) -> dict[str, Any]:
    """Losses from CUDA graphs equal eager ones without dropout, and dropout is as in `dropout`.

    Graphs need 16-bit precision, so they cannot be compared in fp32; the bound is that of bf16. They are off on a CPU,
    which computes both sides eagerly.
    """
    _, expected = trained(trial, "bf16-mixed", trial.device, *WITHOUT_DROPOUT)
    module, found = trained(trial, "bf16-mixed", trial.device, *WITHOUT_DROPOUT, graphs=True)
    difference = max(abs(a - b) / (1 + abs(b)) for a, b in zip(found, expected, strict=True))
    assert difference < 0.02, (found, expected)
    assert module.encoder.has_graphs or trial.device == "cpu"
    (_, first), (_, second) = (trained(trial, "bf16-mixed", trial.device, updates=8, graphs=True) for _ in range(2))
    return {"eager_difference": difference, **reseeded(trial, graphs=True), **same(first, second), **rooms(module)}


def resumption(trial: Trial) -> dict[str, Any]:
    """A training with CUDA graphs that is resumed within an epoch continues as if it had not stopped.

    Its first loss is from the very weights that were saved, so only another batch or another dropout can change it.
    """
    checkpoint = trial.work / "within.ckpt"
    _, whole = trained(trial, "bf16-mixed", trial.device, updates=8, graphs=True, save=checkpoint)
    module, resumed = trained(trial, "bf16-mixed", trial.device, updates=8, graphs=True, resume=checkpoint)
    first = abs(resumed[0] - whole[4])
    assert first < 1e-4, (whole, resumed)
    return {"first_difference": first, **same(whole[4:], resumed), **rooms(module)}


def failed_capture(trial: Trial) -> dict[str, Any]:
    """After a capture that CUDA ends, because a layer waits for the device, training continues eagerly with dropout."""
    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_module

    mixture = load_mixture(trial.mixture(16))
    module = build_module(mixture).to(trial.device).train()
    if trial.device == "cuda":
        module.encoder.use_graphs()
    waits = module.encoder.token_embeddings.register_forward_hook(lambda _, __, found: print(end="" * int(found.sum())))
    found = []
    for batch in our_batches(mixture, 2):
        with torch.autocast(trial.device, dtype=torch.bfloat16):
            loss = batch_loss(module, batch.to(trial.device))
        loss.backward()
        module.zero_grad()
        found.append(float(loss))
    waits.remove()
    assert all(map(math.isfinite, found)), found
    if trial.device == "cuda":
        assert module.encoder._graphs is not None
        assert module.encoder._graphs.failed
        assert torch.cuda.current_stream() == torch.cuda.default_stream()
    return {"losses": found}


def rooms(module: Any) -> dict[str, Any]:
    """How many graphs were captured."""
    no_failure(module.encoder)
    graphs = module.encoder._graphs
    return {"rooms": 0 if graphs is None else graphs.captures}


def no_failure(encoder: Encoder) -> None:
    """Checks that no capture failed, after which everything would be computed eagerly."""
    assert encoder._graphs is None or not encoder._graphs.failed, "a capture failed"

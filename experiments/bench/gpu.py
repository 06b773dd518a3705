"""Training on one GPU, checked and measured in at most six minutes.

    python experiments/bench/gpu.py --out gpu.jsonl

Correctness comes first, then speed at batch 32, then at batch 128. Every step prints its figures as a line of JSON when
it ends, so that a run that is cut off still counts; a step that fails prints its error, and the others run. It needs
neither a network nor MLflow: the data is the synthetic corpus, and the encoder has random weights in the shape of
BERT-base. `--device cpu --size tiny` tries the script without a GPU. `--page FILE` also writes the steps as Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench_data import Setting, prepare
from bench_page import model_flops
from contestants import bare, encoder_size, window
from meter import LEARNING_RATE, Meter
from other_frameworks import hf_best
from torch import Tensor

if TYPE_CHECKING:
    from mtl.encoder.model import Encoder

SIZES = {"base": (768, 12, 12, 3072), "tiny": (32, 2, 2, 64)}
"""Hidden size, layers, attention heads and intermediate size."""

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s by data sheet (SXM), by a part of the device's name."""


@dataclass(frozen=True)
class Trial:
    """What all steps share.

    Args:
        device: cuda or cpu.
        work: Folder for the encoder, the rows and the cache.
        encoder: Folder of the encoder.
        updates: Timed updates.
        warmup: Updates before them.
    """

    device: str
    work: Path
    encoder: Path
    updates: int
    warmup: int

    def mixture(self, batch_size: int) -> Path:
        """The mixture file of the five tasks of the synthetic corpus, with this batch size."""
        setting = Setting("synthetic", 300, batch_size=batch_size, encoder=str(self.encoder))
        return prepare(setting, self.work / f"batch_{batch_size}")


def main(arguments: Sequence[str]) -> int:
    """Runs the steps and returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--size", default="base", choices=list(SIZES), help="size of the encoder (default base)")
    parser.add_argument("--updates", type=int, default=60, help="timed updates (default 60)")
    parser.add_argument("--warmup", type=int, default=15, help="updates before them (default 15)")
    parser.add_argument("--seconds", type=float, default=340.0, help="no step starts later (default 340)")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), metavar="STEP")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="(default runs/gpu)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu/gpu.jsonl"), help="(default runs/gpu/gpu.jsonl)")
    parser.add_argument("--page", type=Path, help="a Markdown file of all steps in OUT")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    os.environ.setdefault("MTL_CACHE", str((options.work / "cache").resolve()))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    encoder = write_encoder(options.work / "random_encoder", options.size)
    trial = Trial(options.device, options.work, encoder, options.updates, options.warmup)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    has_failed = False
    for name in options.only:
        begun = time.monotonic()
        if begun - started > options.seconds:
            found: dict[str, Any] = {"skipped": "no time is left"}
        else:
            try:
                found = STEPS[name](trial)
            except Exception as error:  # the other steps still count
                found = {"error": f"{type(error).__name__}: {error}"[:500]}
                has_failed = True
        line = json.dumps({"step": name, **found, "step_seconds": round(time.monotonic() - begun, 1)})
        print(line, flush=True)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if options.page is not None:
            options.page.write_text(as_markdown(options.out, arguments), encoding="utf-8")
    return int(has_failed)


def as_markdown(lines: Path, arguments: Sequence[str]) -> str:
    """The figures of every step, the latest try of each."""
    latest = {line["step"]: line for line in map(json.loads, lines.read_text(encoding="utf-8").splitlines())}
    command = " ".join(["python experiments/bench/gpu.py", *arguments])
    page = ["# Training on a GPU", "", f"`{command}`, {datetime.now(UTC).date().isoformat()}.", ""]
    page += ["| step | figures |", "|---|---|"]
    for step, line in latest.items():
        found = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in line.items()}
        page.append(f"| {step} | {', '.join(f'{name} {value}' for name, value in found.items() if name != 'step')} |")
    return "\n".join(page) + "\n"


def write_encoder(folder: Path, size: str) -> Path:
    """A BERT with random weights, and a tokenizer of letters and the most frequent words of the synthetic corpus."""
    from collections import Counter

    from bench_data import EXPERIMENTS
    from transformers import BertConfig, BertModel, BertTokenizer

    if (folder / "config.json").exists():
        return folder
    texts = "".join(
        file.read_text(encoding="utf-8") for file in sorted((EXPERIMENTS / "demo" / "data").rglob("train*"))
    )
    words = Counter(word for word in texts.lower().split() if word.isalpha())
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:()-'\"?!/%+"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word, _ in words.most_common(2000)]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(dict.fromkeys(pieces))})
    hidden, layers, heads, intermediate = SIZES[size]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- correctness ------------------------------------------------------------------------------------------------------


def device(trial: Trial) -> dict[str, Any]:
    """What is measured, and its rate of matrix products."""
    import pytorch_lightning
    import transformers

    found = {
        "device": torch.cuda.get_device_name() if trial.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "pytorch_lightning": pytorch_lightning.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    if trial.device == "cuda":
        left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        for repeats in (3, 20):  # the first only warms up
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(repeats):
                left @ right
            torch.cuda.synchronize()
        found["gemm_tflops"] = 2 * 8192**3 * repeats / (time.perf_counter() - started) / 1e12
    return found


def loaded(trial: Trial) -> Encoder:
    """The encoder without dropout."""
    from mtl.config.mixture import EncoderSpec
    from mtl.encoder.pretrained import load_encoder, load_tokenizer

    spec = EncoderSpec(name=str(trial.encoder), dropout=0.0)
    encoder = load_encoder(spec, load_tokenizer(spec), seed=0)
    assert encoder.packs, "the encoder is not packed"
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

    In bf16 on a GPU, FlashAttention for sequences of different lengths computes the attention.
    """
    encoder, ids, found = loaded(trial), sequences(), {}
    exact = states(encoder, ids, "cpu", torch.float32)
    exact.square().mean().backward()
    gradients = {name: weight.grad.clone() for name, weight in encoder.named_parameters() if weight.grad is not None}
    for dtype, states_bound, gradient_bound in ((torch.float32, 1e-2, 1e-2), (torch.bfloat16, 0.2, 0.1)):
        encoder.zero_grad()
        here = states(encoder, ids, trial.device, dtype)
        here.float().square().mean().backward()
        differences = [
            (w.grad.cpu() - gradients[n]).norm() for n, w in encoder.named_parameters() if w.grad is not None
        ]
        relative = float(torch.stack(differences).norm() / torch.stack([g.norm() for g in gradients.values()]).norm())
        name = str(dtype).removeprefix("torch.")
        found[f"{name}_states"], found[f"{name}_gradients"] = float((here.cpu() - exact).abs().max()), relative
        assert found[f"{name}_states"] < states_bound, found
        assert relative < gradient_bound, found
    return found


def isolation(trial: Trial) -> dict[str, Any]:
    """Changing one sequence changes no bit of the states of the others."""
    encoder, ids = loaded(trial).eval(), sequences()
    with torch.no_grad():
        before = states(encoder, ids, trial.device, torch.bfloat16)
        changed = [[(token + 1) % 90 + 5 for token in row] if n == 3 else row for n, row in enumerate(ids)]
        after = states(encoder, changed, trial.device, torch.bfloat16)
    others = [n for n in range(len(ids)) if n != 3]
    assert not torch.equal(before[3], after[3])
    assert torch.equal(before[others], after[others])
    return {"sequences": len(ids)}


def trained(
    trial: Trial, precision: str, device: str, *overrides: str, updates: int = 20, graphs: bool = False
) -> tuple[Any, list[float]]:
    """The module and the loss of every update of a training."""
    import pytorch_lightning as pl

    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data, build_module

    mixture = load_mixture(trial.mixture(16), overrides)
    losses: list[Tensor] = []

    class Losses(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            losses.append(outputs["loss"].detach())

    module, data = build_module(mixture, learning_rate=1e-4, cuda_graphs=graphs), build_data(mixture)
    trainer = pl.Trainer(**quiet(device), precision=precision, max_steps=updates, max_epochs=-1, callbacks=[Losses()])  # type: ignore[arg-type]  # names of precisions
    trainer.fit(module, datamodule=data)
    trainer.validate(module, datamodule=data, verbose=False)
    return module, [float(loss) for loss in losses]


def quiet(device: str) -> dict[str, Any]:
    """Arguments of a trainer on one device that leaves no files."""
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    kept = {"accelerator": "gpu" if device == "cuda" else "cpu", "devices": 1, "gradient_clip_val": 1.0}
    return {**dict.fromkeys(names, False), **kept, "num_sanity_val_steps": 0, "limit_val_batches": 4}


TASKS = ("adverse_events", "topics", "similarity", "mentions", "relations")
WITHOUT_DROPOUT = ["encoder.dropout=0", *(f"tasks.{task}.options.dropout=0" for task in TASKS)]


def losses(trial: Trial) -> dict[str, Any]:
    """Without dropout, 20 updates give the losses of the CPU; every head is trained and evaluated."""
    _, expected = trained(trial, "32-true", "cpu", *WITHOUT_DROPOUT)
    found: dict[str, Any] = {}
    for precision, bound in (("32-true", 1e-2), ("bf16-mixed", 0.1)):
        module, here = trained(trial, precision, trial.device, *WITHOUT_DROPOUT)
        difference = max(abs(a - b) / (1 + abs(b)) for a, b in zip(here, expected, strict=True))
        found[precision] = difference
        assert difference < bound, found
        assert set(module.results["dev"]) == set(TASKS)
    return found


def dropout(trial: Trial) -> dict[str, Any]:
    """Dropout is drawn from the seed and the step: the same in a second training, and different from step to step."""
    (_, first), (_, second) = (trained(trial, "bf16-mixed", trial.device, updates=8) for _ in range(2))
    same = max(abs(a - b) for a, b in zip(first, second, strict=True))
    assert same < 1e-2, (first, second)
    return {"largest_difference": same, "bit_identical": first == second}


def graphs(trial: Trial) -> dict[str, Any]:
    """Losses from CUDA graphs equal eager ones without dropout; with dropout, they are the same in a second training.

    Graphs are off on a CPU, which computes both sides eagerly.
    """
    _, expected = trained(trial, "bf16-mixed", trial.device, *WITHOUT_DROPOUT)
    module, found = trained(trial, "bf16-mixed", trial.device, *WITHOUT_DROPOUT, graphs=True)
    difference = max(abs(a - b) / (1 + abs(b)) for a, b in zip(found, expected, strict=True))
    assert difference < 0.02, (found, expected)
    assert module.encoder.has_graphs or trial.device == "cpu"
    (_, first), (_, second) = (trained(trial, "bf16-mixed", trial.device, updates=8, graphs=True) for _ in range(2))
    same = max(abs(a - b) for a, b in zip(first, second, strict=True))
    assert same < 1e-2, (first, second)
    assert len(set(first)) == len(first)
    return {"largest_difference": difference, "bit_identical": first == second, **rooms(module)}


def rooms(module: Any) -> dict[str, Any]:
    """How many graphs were captured."""
    captured = module.encoder._graphs
    assert captured is None or not captured.failed, "a capture failed"
    return {"rooms": 0 if captured is None else len(captured)}


# --- speed ------------------------------------------------------------------------------------------------------------


def ours(trial: Trial, batch_size: int, *, graphs: bool = False) -> dict[str, Any]:
    """Training as `mtl fit` does it, without MLflow."""
    import pytorch_lightning as pl

    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data, build_module

    mixture, meter = load_mixture(trial.mixture(batch_size)), Meter()

    module = build_module(mixture, learning_rate=LEARNING_RATE, cuda_graphs=graphs)
    steps = {"max_steps": trial.warmup + trial.updates, "max_epochs": -1, "limit_val_batches": 0}
    callbacks = [window(meter, trial.warmup, trial.updates)]
    trainer = pl.Trainer(**{**quiet(trial.device), **steps}, precision="bf16-mixed", callbacks=callbacks)
    trainer.fit(module, datamodule=build_data(mixture))
    return {**figures({**meter.figures(), **encoder_size(module)}, trial), **(rooms(module) if graphs else {})}


def ours_graphs(trial: Trial, batch_size: int) -> dict[str, Any]:
    """The same with CUDA graphs."""
    return ours(trial, batch_size, graphs=True)


def bare_graphs(trial: Trial, batch_size: int) -> dict[str, Any]:
    """A plain loop over the batches of `ours`, which are ready on the device, with the same graphs."""
    options = argparse.Namespace(**settings(trial, batch_size), graphs=trial.device == "cuda")
    return figures(bare(options, Meter()), trial)


def settings(trial: Trial, batch_size: int) -> dict[str, Any]:
    """What the contestants of `contestants.py` need to know."""
    return {
        "mixture": trial.mixture(batch_size),
        "seed": 0,
        "warmup": trial.warmup,
        "updates": trial.updates,
        "precision": "bf16-mixed",
        "device": trial.device,
    }


def hf(trial: Trial, batch_size: int) -> dict[str, Any]:
    """`transformers.Trainer` at its best, one task after another."""
    workers = 4 if trial.device == "cuda" else 0
    options = argparse.Namespace(**settings(trial, batch_size), loader_workers=workers)
    return figures(hf_best(options, Meter()), trial)


def figures(measured: dict[str, Any], trial: Trial) -> dict[str, Any]:
    """Rates of a window, and the share of the device's peak by data sheet where the encoder's size is known."""
    seconds = measured["seconds"]
    found = {
        "real_tokens_per_second": measured["real_tokens"] / seconds,
        "milliseconds_per_update": 1000 * seconds / measured["updates"],
        "padded_per_real": measured["padded_tokens"] / measured["real_tokens"],
        "updates": measured["updates"],
    }
    if trial.device == "cuda":
        found["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        peak = next((value for name, value in PEAKS.items() if name in torch.cuda.get_device_name()), None)
        if peak is not None and "parameters" in measured:
            found["mfu"] = model_flops(measured) / seconds / peak
    return found


def steps() -> Iterator[tuple[str, Callable[[Trial], dict[str, Any]]]]:
    """The steps in their order, by name."""
    for check in (device, kernel, isolation, losses, dropout, graphs):
        yield check.__name__, check
    for size in (32, 128):
        for contestant in (ours, ours_graphs, hf, bare_graphs):
            yield f"{contestant.__name__}_{size}", lambda trial, run=contestant, size=size: run(trial, size)


STEPS = dict(steps())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

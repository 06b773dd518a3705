"""Training on one GPU, checked and measured in at most six minutes.

    python experiments/bench/gpu.py --out gpu.jsonl

Correctness comes first, then speed at batch 32, then at batch 128. Every step prints its figures as a line of JSON when
it ends, so that a run that is cut off still counts; a step that fails prints its error, and the others run. It needs
the package with its dependencies, but neither a network nor MLflow: the data is the synthetic corpus, and the encoder
has random weights in the shape of BERT-base. Without an installation, put the repository on PYTHONPATH. Of several
GPUs, it uses the first. `--device cpu --size tiny` tries the script without a GPU. `--page FILE` also writes the steps
as Markdown.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from bare_graphs import bare_with_graphs
from bench_page import model_flops
from contestants import encoder_size, our_batches, window
from gpu_checks import dropout, failed_capture, graphs, isolation, kernel, losses, quiet, resumption, rooms
from gpu_trial import SIZES, Trial, write_encoder
from meter import LEARNING_RATE, Meter
from other_frameworks import hf_best

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s by data sheet (SXM), by a part of the device's name."""


def main(arguments: Sequence[str]) -> int:
    """Runs the steps and returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--size", default="base", choices=list(SIZES), help="size of the encoder (default base)")
    parser.add_argument("--updates", type=int, default=60, help="timed updates (default 60)")
    parser.add_argument("--warmup", type=int, default=15, help="updates before them (default 15)")
    parser.add_argument("--seconds", type=float, default=345.0, help="no step starts that is likely to end later")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS), metavar="STEP")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="(default runs/gpu)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu/gpu.jsonl"), help="(default runs/gpu/gpu.jsonl)")
    parser.add_argument("--page", type=Path, help="a Markdown file of all steps in OUT")
    options = parser.parse_args(arguments)
    started, longest = time.monotonic(), 0.0
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ.setdefault("MTL_CACHE", str((options.work / "cache").resolve()))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    encoder = write_encoder(options.work / "random_encoder", options.size)
    trial = Trial(options.device, options.work, encoder, options.size, options.updates, options.warmup)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    command = " ".join(["python experiments/bench/gpu.py", *arguments])
    origin = {"run": now, "on": options.device, "size": options.size, "command": command}
    has_failed = False
    for name in options.only:
        begun = time.monotonic()
        if begun - started + longest > options.seconds:
            found: dict[str, Any] = {"skipped": "no time is left"}
        else:
            try:
                clean(trial.device)
                found = STEPS[name](trial)
            except Exception as error:  # the other steps still count
                found = {"error": f"{type(error).__name__}: {error}"[:500]}
                has_failed = True
        seconds = time.monotonic() - begun
        longest = max(longest, seconds)
        line = json.dumps({"step": name, **found, "step_seconds": round(seconds, 1), **origin})
        print(line, flush=True)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if options.page is not None:
            options.page.write_text(as_markdown(options.out), encoding="utf-8")
    return int(has_failed)


def clean(device: str) -> None:
    """Leaves to the next step what a new process has: free memory, no peak, and PyTorch's own choice of kernels."""
    gc.collect()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.enable_cudnn_sdp(True)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def as_markdown(lines: Path) -> str:
    """The figures of every step, by run; figures of different runs cannot be compared."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, lines.read_text(encoding="utf-8").splitlines()):
        runs.setdefault(f"`{line['command']}`, {line['run']}, on {line['on']}", []).append(line)
    page = ["# Training on a GPU", ""]
    for run, steps in runs.items():
        page += [f"{run}:", "", "| step | figures |", "|---|---|"]
        page += [f"| {line['step']} | {_shown(line)} |" for line in steps]
        page.append("")
    return "\n".join(page)


def _shown(line: Mapping[str, Any]) -> str:
    left_out = ("step", "run", "on", "size", "command")
    figures = {name: value for name, value in line.items() if name not in left_out}
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )


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


def ours(trial: Trial, batch_size: int, *, graphs: bool = False) -> dict[str, Any]:
    """Training as `mtl fit` does it, without MLflow."""
    import pytorch_lightning as pl

    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data, build_module

    mixture, meter = load_mixture(trial.mixture(batch_size)), Meter()

    module = build_module(mixture, learning_rate=LEARNING_RATE, cuda_graphs=graphs)
    steps = {"max_steps": trial.warmup + trial.updates, "max_epochs": -1, "limit_val_batches": 0}
    callbacks = [window(meter, trial.warmup, trial.updates)]
    if graphs:
        callbacks.insert(0, captured_before(trial, batch_size))
    trainer = pl.Trainer(**{**quiet(trial.device), **steps}, precision="bf16-mixed", callbacks=callbacks)
    trainer.fit(module, datamodule=build_data(mixture))
    return {**figures({**meter.figures(), **encoder_size(module)}, trial), **(rooms(module) if graphs else {})}


def captured_before(trial: Trial, batch_size: int) -> Any:
    """A callback that captures the graphs of all batches before the first update.

    A training captures the last of its few graphs within its first epoch. The window is to show the rate after that.
    """
    import pytorch_lightning as pl

    from mtl.config.loading import load_mixture

    class Captured(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if not pl_module.encoder.has_graphs:
                return
            for batch in our_batches(load_mixture(trial.mixture(batch_size)), trial.warmup + trial.updates):
                here = batch.to(pl_module.device)
                with trainer.precision_plugin.forward_context():
                    pl_module.encoder(here.input_ids, here.layout, here.type_ids)

    return Captured()


def ours_graphs(trial: Trial, batch_size: int) -> dict[str, Any]:
    """The same with CUDA graphs, which are captured before the window."""
    return ours(trial, batch_size, graphs=True)


def bare_graphs(trial: Trial, batch_size: int) -> dict[str, Any]:
    """A plain loop over the batches of `ours`, ready on the device, in which each update is one CUDA graph."""
    measured = bare_with_graphs(argparse.Namespace(**settings(trial, batch_size)), Meter())
    return {**figures(measured, trial), "loss": measured["loss"]}


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


def hf(trial: Trial, batch_size: int, attention: str) -> dict[str, Any]:
    """`transformers.Trainer` at its best with one of its attentions, one task after another."""
    workers = 4 if trial.device == "cuda" else 0
    options = argparse.Namespace(**settings(trial, batch_size), loader_workers=workers, attention=attention)
    return figures(hf_best(options, Meter()), trial)


def hf_sdpa(trial: Trial, batch_size: int) -> dict[str, Any]:
    """With PyTorch's own attention. The better of the two counts."""
    torch.backends.cuda.enable_cudnn_sdp(False)  # its kernels make a plan for every new shape, which takes longer
    return hf(trial, batch_size, "sdpa")


def hf_eager(trial: Trial, batch_size: int) -> dict[str, Any]:
    """With attention as matrix products."""
    return hf(trial, batch_size, "eager")


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
        peak = next((value for name, value in PEAKS.items() if name in torch.cuda.get_device_name()), None)
        if peak is not None and "parameters" in measured:
            found["mfu"] = model_flops(measured) / seconds / peak
    return found


def steps() -> Iterator[tuple[str, Callable[[Trial], dict[str, Any]]]]:
    """The steps in their order, by name."""
    for check in (device, kernel, isolation, losses, dropout, graphs, resumption):
        yield check.__name__, check
    for size in (32, 128):
        for contestant in (ours, ours_graphs, hf_sdpa, bare_graphs, hf_eager):
            yield f"{contestant.__name__}_{size}", lambda trial, run=contestant, size=size: run(trial, size)
    yield failed_capture.__name__, failed_capture  # last, because a failed capture may leave the device in a bad state


STEPS = dict(steps())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

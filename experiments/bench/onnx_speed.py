"""How fast an ONNX graph is compared with PyTorch: the same texts, the same tasks, one thread, by turns.

    OMP_NUM_THREADS=1 python experiments/bench/onnx_speed.py RUN GRAPH

RUN is the folder of a run, and GRAPH what `mtl export RUN --format onnx --to GRAPH` wrote. Each round times the
encoder and the heads of the graph in both, one after the other, and every other round in the other order; only the
ratio within a round counts. Tokenising and decoding are the same for both and are not timed. PyTorch computes
sequences without padding, as `mtl predict` does; the graph computes them padded to the longest of the batch.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from machine import machine, machine_line

from mtl.encoder.packing import Layout
from mtl.prediction.trained_model import TrainedModel


class Round(NamedTuple):
    """Seconds of one pass over the batches in PyTorch and in onnxruntime."""

    pytorch: float
    onnxruntime: float

    @property
    def ratio(self) -> float:
        """How many times as fast onnxruntime is."""
        return self.pytorch / self.onnxruntime


def main(arguments: Sequence[str]) -> None:
    """Measures and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("graph", type=Path, help="folder of its ONNX graph")
    parser.add_argument("--rounds", type=int, default=9, help="number of rounds (default 9)")
    parser.add_argument("--batches", type=int, default=8, help="batches of a round (default 8)")
    parser.add_argument("--batch-size", type=int, default=16, help="sequences of a batch (default 16)")
    parser.add_argument("--longest", type=int, default=128, help="tokens of the longest sequence (default 128)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lengths = batch_lengths(options.batches, options.batch_size, options.longest)
    found = measure(options.run, options.graph, lengths, options.rounds)
    ratios = sorted(one.ratio for one in found)
    print(machine_line(machine()))
    print(f"{options.batches} batches of {options.batch_size} sequences of up to {options.longest} tokens")
    print(f"onnxruntime is {median(ratios):.2f} times as fast as PyTorch ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def batch_lengths(num_batches: int, batch_size: int, longest: int) -> list[list[int]]:
    """Lengths of sequences in tokens, like those of sentences: a batch holds similar ones, as in prediction."""
    rng = random.Random(0)
    drawn = sorted(min(longest, 8 + int(rng.expovariate(4 / longest))) for _ in range(num_batches * batch_size))
    return [drawn[start : start + batch_size] for start in range(0, len(drawn), batch_size)]


def measure(run: Path, graph: Path, lengths: Sequence[Sequence[int]], rounds: int) -> list[Round]:
    """The seconds of each round; a first one, which allocates memory, is not counted."""
    passes = (pytorch_pass(run, graph, lengths), onnxruntime_pass(graph, lengths))
    found = []
    for number in range(rounds + 1):
        seconds = [0.0, 0.0]
        for place in (0, 1) if number % 2 else (1, 0):
            begin = time.perf_counter()
            passes[place]()
            seconds[place] = time.perf_counter() - begin
        found.append(Round(*seconds))
    return found[1:]


def pytorch_pass(run: Path, graph: Path, lengths: Sequence[Sequence[int]]) -> Callable[[], None]:
    """A pass over the batches in PyTorch, through the encoder without padding and the heads of the graph."""
    module = TrainedModel(run).module
    heads = [module.head(task) for task in json.loads((graph / "graph.json").read_text(encoding="utf-8"))["tasks"]]
    ids = [torch.tensor([token for ids in padded_ids(batch, pad=False) for token in ids]) for batch in lengths]

    @torch.inference_mode()
    def run_all() -> None:
        for batch, tokens in zip(lengths, ids, strict=True):
            layout = Layout(batch)
            states = module.encoder(tokens, layout)
            positions = torch.arange(states.shape[1])[None].expand(len(batch), -1)
            for head in heads:
                head(states, layout.mask, {"positions": positions})

    return run_all


def onnxruntime_pass(graph: Path, lengths: Sequence[Sequence[int]]) -> Callable[[], None]:
    """A pass over the padded batches in onnxruntime."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    batches: list[dict[str, Any]] = []
    for batch in lengths:
        mask = (np.arange(max(batch))[None] < np.array(batch)[:, None]).astype(np.int64)
        values = {"input_ids": np.array(padded_ids(batch)), "attention_mask": mask, "token_type_ids": 0 * mask}
        batches.append({name: values[name] for name in names})

    def run_all() -> None:
        for inputs in batches:
            session.run(None, inputs)

    return run_all


def padded_ids(lengths: Sequence[int], *, pad: bool = True) -> list[list[int]]:
    """Ids of tokens that every vocabulary has, drawn at random, for sequences in the order of a layout."""
    rng = random.Random(len(lengths))
    ordered = sorted(lengths, reverse=True) if not pad else lengths
    return [
        [rng.randrange(5, 60) for _ in range(length)] + [0] * (max(lengths) - length if pad else 0)
        for length in ordered
    ]


if __name__ == "__main__":
    main(sys.argv[1:])

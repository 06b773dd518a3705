"""`mtl predict`: decoded predictions for raw text. Tasks that read a text alike share one pass of the encoder."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm

from heads import Example, Head, Prediction, Row, SpanRow, TextRow
from mtl.assembly import build_heads, build_module
from mtl.batch import Batch, Share, collate
from mtl.batching import by_length
from mtl.compatibility import checkpoint_mixture, read_checkpoint
from mtl.data import EVALUATION_TOKENS
from mtl.faults import Fault, InputError, did_you_mean
from mtl.mixture import Mixture
from mtl.precision import natural_precision
from mtl.readers.jsonl import Jsonl
from mtl.runs import RunFolder

CHUNK = 64
"""Rows that are encoded together."""

Waiting = dict[int, tuple[Row, dict[str, tuple[Row, int]]]]


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl predict --checkpoint C --input F --output F [--task T…] [--trainer.NAME VALUE…]`."""
    parser = argparse.ArgumentParser("mtl predict", description="Writes decoded predictions for raw text.")
    parser.add_argument("--checkpoint", required=True, help="a checkpoint, or a run's folder for its best")
    parser.add_argument("--input", required=True, type=Path, help="rows as JSON lines; only `text` is needed")
    parser.add_argument("--output", required=True, type=Path, help="JSON lines: id and a prediction per task")
    parser.add_argument("--task", nargs="+", action="extend", help="some tasks only")
    options, rest = parser.parse_known_args(arguments[1:])
    predict(options.checkpoint, options.input, options.output, tasks=options.task, trainer=_trainer_options(rest))


def predict(
    checkpoint: str | Path,
    rows: Path,
    output: Path,
    *,
    tasks: Sequence[str] | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> None:
    """Writes a line per row of the input: its id and, per task, the decoded prediction with scores and offsets.

    Args:
        checkpoint: A checkpoint file, or a run's folder for its best.
        rows: JSON lines in the form of `heads.rows.row_to_dict`; labels are not needed.
        output: Is replaced when all is done.
        tasks: Some tasks of the mixture; None takes all.
        trainer: Options of Lightning's trainer, such as ``{"accelerator": "gpu"}``; one device.

    Raises:
        InputError: The checkpoint, a task name, the input or the output is at fault.
    """
    path = _checkpoint_file(checkpoint)
    mixture = _located(checkpoint_mixture(path), path)
    names = list(tasks or mixture.tasks)
    unknown = [name for name in names if name not in mixture.tasks]
    if unknown:
        raise InputError([Fault("--task", f"There is no task '{n}'.", did_you_mean(n, mixture.tasks)) for n in unknown])
    if not output.absolute().parent.is_dir() or not os.access(output.absolute().parent, os.W_OK):
        raise InputError(Fault("--output", f"The folder of '{output}' can't be written."))
    _, tokenizer = build_heads(mixture)
    module = build_module(mixture, weights=False)
    module.load_state_dict(read_checkpoint(path)["state_dict"])
    asked = {name: module.head(name) for name in names}
    options: dict[str, Any] = {"accelerator": "auto", "logger": False, "enable_checkpointing": False, **(trainer or {})}
    options.setdefault("precision", natural_precision(options["accelerator"]))
    if options.setdefault("devices", 1) not in (1, "1"):
        raise InputError(Fault("--trainer.devices", "Prediction runs on one device.", "Split the input to use more."))
    handle, part = tempfile.mkstemp(dir=output.absolute().parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            loader = PredictLoader(rows, asked, tokenizer, mixture)
            writer = PredictionWriter(loader, asked, file)
            runner = pl.Trainer(**options, callbacks=[writer], enable_progress_bar=False, enable_model_summary=False)
            runner.predict(module, loader, return_predictions=False)
        Path(part).replace(output)
    finally:
        Path(part).unlink(missing_ok=True)


class PredictLoader:
    """Batches of raw rows, a chunk at a time; what is in flight is in `waiting` until it is written.

    Args:
        path: JSON lines.
        heads: Of the tasks that are asked for.
        tokenizer: The encoder's.
        mixture: For lengths and batch sizes.
    """

    def __init__(self, path: Path, heads: Mapping[str, Head], tokenizer: Any, mixture: Mixture) -> None:
        self._reader = Jsonl(str(path))
        self._source = self._reader.sources()["train"]
        self._heads, self._tokenizer, self._mixture = dict(heads), tokenizer, mixture
        with self._source.open("rb") as file:
            self.num_rows = sum(1 for line in file if line.strip())
        self.waiting: Waiting = {}
        """Rows by number, each with the row and the number of examples that every task makes of it."""

    def __iter__(self) -> Iterator[Batch]:
        numbered = enumerate(self._rows())
        while chunk := list(islice(numbered, CHUNK)):
            yield from self._batches(chunk)

    def _rows(self) -> Iterator[Row]:
        return self._reader.read("train")

    def _batches(self, chunk: Sequence[tuple[int, Row]]) -> Iterator[Batch]:
        encoded = {name: self._encode(name, head, chunk) for name, head in self._heads.items()}
        groups: dict[str, dict[str, list[Example]]] = defaultdict(dict)
        for name, examples in encoded.items():
            groups[json.dumps([[e["row"], e["input_ids"]] for e in examples])][name] = examples
        for group in groups.values():
            first = next(iter(group.values()))
            lengths = np.array([len(example["input_ids"]) for example in first], dtype=np.int64)
            for indices in by_length(np.arange(len(first)), lengths, 4 * self._mixture.batch_size, EVALUATION_TOKENS):
                taken = {name: [examples[i] for i in indices] for name, examples in group.items()}
                share = Share(taken, dict.fromkeys(taken, 1.0))
                yield collate([share], self._heads, self._tokenizer.pad_token_id or 0, keep_examples=True)

    def _encode(self, name: str, head: Head, chunk: Sequence[tuple[int, Row]]) -> list[Example]:
        rows = [_as_read_by(head, row) for _, row in chunk]
        examples = head.encode(rows, self._tokenizer, self._mixture.max_length_of(name), training=False)
        sizes = np.bincount([example["row"] for example in examples], minlength=len(rows))
        for (number, row), own, size in zip(chunk, rows, sizes, strict=True):
            self.waiting.setdefault(number, (row, {}))[1][name] = (own, int(size))
        numbered = [{**example, "row": chunk[example["row"]][0]} for example in examples]
        return [{**example, "part": part} for part, example in enumerate(numbered)]


class PredictionWriter(Callback):
    """Writes each row as soon as it and all rows before it are decoded.

    Args:
        loader: Whose rows are predicted.
        heads: Of the tasks that are asked for.
        file: Where lines go.
    """

    def __init__(self, loader: PredictLoader, heads: Mapping[str, Head], file: IO[str]) -> None:
        self._loader, self._heads, self._file = loader, dict(heads), file
        self._outputs: dict[tuple[int, str], list[tuple[Example, Tensor]]] = defaultdict(list)
        self._next = 0
        self._bar = tqdm(total=loader.num_rows, unit="row", desc="predict")

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        for part in batch.parts:
            for example, output in zip(part.examples, outputs[part.task], strict=True):
                self._outputs[example["row"], part.task].append((example, output))
        self._write_ready()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write_ready()
        self._bar.close()
        assert self._next == self._loader.num_rows or self._loader.waiting == {}, "a row was not predicted"

    def _write_ready(self) -> None:
        while self._next in self._loader.waiting and self._is_complete(self._next):
            row, tasks = self._loader.waiting.pop(self._next)
            predictions = {name: self._decoded(name, own) for name, (own, _) in tasks.items()}
            self._file.write(json.dumps({"id": row.id, "predictions": predictions}, ensure_ascii=False) + "\n")
            self._next += 1
            self._bar.update()

    def _is_complete(self, number: int) -> bool:
        _, tasks = self._loader.waiting[number]
        return len(tasks) == len(self._heads) and all(
            len(self._outputs[number, name]) == size for name, (_, size) in tasks.items()
        )

    def _decoded(self, name: str, row: Row) -> Prediction:
        pending = sorted(self._outputs.pop((self._next, name)), key=lambda pair: pair[0]["part"])
        return self._heads[name].decode(row, [example for example, _ in pending], [output for _, output in pending])


def _as_read_by(head: Head, row: Row) -> Row:
    """The row in the shape that the head reads; raw text has no mentions and no label."""
    if isinstance(row, head.row_type):
        return row
    if isinstance(row, TextRow):
        return SpanRow(row.id, row.document, row.text, row.text_pair, meta=row.meta)
    return TextRow(row.id, row.document, row.text, row.text_pair, meta=row.meta)


def _checkpoint_file(checkpoint: str | Path) -> Path:
    path = Path(checkpoint)
    if path.is_dir():
        return RunFolder.open(path).resolve_checkpoint("best")
    if not path.is_file():
        raise InputError(Fault("--checkpoint", f"'{path}' is neither a checkpoint nor a run's folder."))
    return path


def _located(mixture: Mixture, checkpoint: Path) -> Mixture:
    """The mixture with the encoder's configuration and tokenizer from the run's folder, where they are."""
    folder = checkpoint.absolute().parent.parent / "encoder"
    if not (folder / "config.json").is_file():
        return mixture
    update = {"name": str(folder), "num_layers": None, "revision": None}
    return mixture.model_copy(update={"encoder": mixture.encoder.model_copy(update=update)})


def _trainer_options(words: Sequence[str]) -> dict[str, Any]:
    """``--trainer.NAME VALUE`` and ``--trainer.NAME=VALUE`` as arguments of the trainer."""
    import inspect

    import yaml

    known = set(inspect.signature(pl.Trainer).parameters)
    joined = " ".join(words).replace("=", " ").split()
    options: dict[str, Any] = {}
    for key, value in zip(joined[::2], joined[1::2], strict=False):
        name = key.lstrip("-").removeprefix("trainer.")
        if "trainer." not in key or name not in known:
            raise InputError(Fault(key, f"There is no option '{key}'.", did_you_mean(name, known)))
        options[name] = yaml.safe_load(value)
    if len(joined) % 2:
        raise InputError(Fault(joined[-1], "An option needs a value."))
    return options

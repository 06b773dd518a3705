"""`mtl predict`: decoded predictions on raw text. Tasks with the same input share one forward pass of the encoder."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm

from heads import Example, Head, Prediction, Row, SpanRow, TextRow, sequence_lengths
from mtl.batching.batch import Batch, ExampleGroup, collate
from mtl.batching.batcher import by_length
from mtl.batching.loaders import EVALUATION_TOKENS
from mtl.commands.arguments import add_import_option, import_modules
from mtl.config.mixture import Mixture
from mtl.data.row_problems import shown_rule
from mtl.hashed_ids import shown_id
from mtl.log_filters import filter_logs
from mtl.private_files import open_private
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import bad_row_problems
from mtl.readers.jsonl import Jsonl
from mtl.tracking.checkpoint_file import damage
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_heads, build_module
from mtl.training.checkpoints import (
    TrainedRows,
    checkpoint_mixture,
    checkpoint_precision,
    located,
    read_checkpoint,
    trained_rows,
)

CHUNK = 64
"""Number of rows that are encoded together."""

LISTED = 20
"""Number of problems with rows that are listed; further ones are only counted."""

Waiting = dict[int, tuple[Row, dict[str, tuple[Row, int]]]]


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl predict --checkpoint C --input F --output F [--task T…] [--trainer.NAME VALUE…]`."""
    parser = argparse.ArgumentParser("mtl predict", description="Writes decoded predictions on raw text.")
    parser.add_argument(
        "--checkpoint", required=True, help="a checkpoint, or the folder of a run to use its best checkpoint"
    )
    rows_help = "rows as JSON lines with a `text`, and a `text_pair` for tasks on pairs"
    parser.add_argument("--input", required=True, type=Path, help=rows_help)
    parser.add_argument(
        "--output", required=True, type=Path, help="JSON lines with an id and a prediction for each task"
    )
    parser.add_argument("--task", nargs="+", action="extend", help="tasks to predict (default: all)")
    add_import_option(parser)
    options, rest = parser.parse_known_args(arguments[1:])
    import_modules(options.modules)
    filter_logs()
    predict(options.checkpoint, options.input, options.output, tasks=options.task, trainer=_trainer_options(rest))


def predict(
    checkpoint: str | Path,
    rows: Path,
    output: Path,
    *,
    tasks: Sequence[str] | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> None:
    """Writes one line for each input row: its id and, for each task, the decoded prediction with scores and offsets.

    A row without an id gets the id `row-` and its line number. Gold labels in the input are ignored.

    Args:
        checkpoint: A checkpoint file, or the folder of a run to use its best checkpoint.
        rows: JSON lines in the format of `heads.rows.row_to_dict`; labels are not required.
        output: File to write; an existing file is replaced once all predictions are written.
        tasks: Names of the tasks to predict; None predicts all tasks of the mixture.
        trainer: Options of Lightning's trainer, such as ``{"accelerator": "gpu"}``; only one device is supported.

    Raises:
        InputError: The checkpoint, a task name, the input or the output is invalid.
    """
    path = _checkpoint_file(checkpoint)
    mixture = located(checkpoint_mixture(path), path)
    names = list(tasks or mixture.tasks)
    unknown = [name for name in names if name not in mixture.tasks]
    if unknown:
        raise InputError(
            [Problem("--task", f"There is no task '{n}'.", did_you_mean(n, mixture.tasks)) for n in unknown]
        )
    if not rows.is_file():
        raise InputError(Problem("--input", f"The file '{rows}' does not exist."))
    with _replaced(output) as file:
        heads, tokenizer = build_heads(mixture)
        content = read_checkpoint(path)
        chosen = {name: heads[name] for name in names}
        loader = PredictLoader(rows, chosen, tokenizer, mixture, trained_rows(content))
        module = build_module(mixture, weights=False)
        module.load_state_dict(content["state_dict"])
        writer = PredictionWriter(loader, {name: module.head(name) for name in names}, file)
        runner = _trainer({"precision": checkpoint_precision(path), **(trainer or {})}, writer)
        runner.predict(module, loader, return_predictions=False)


def _trainer(given: Mapping[str, Any], writer: Callback) -> pl.Trainer:
    """Lightning's trainer without its progress bar, which counts batches; ours counts rows."""
    options: dict[str, Any] = {"accelerator": "auto", "logger": False, "enable_checkpointing": False, "devices": 1}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, **given}
    if str(options["devices"]) != "1":
        raise InputError(Problem("--trainer.devices", "Prediction runs on one device.", "Split the input to use more."))
    try:
        return pl.Trainer(**{**options, "callbacks": [writer]})
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(Problem("--trainer", " ".join(str(error).split()))) from error


@contextmanager
def _replaced(output: Path) -> Iterator[IO[str]]:
    """A temporary file that replaces `output` on success and is deleted on failure."""
    part = output.absolute().with_name(f".{output.name}.{os.getpid()}.part")
    try:
        if output.is_dir():
            raise InputError(Problem("--output", f"'{output}' cannot be written: it is a folder."))
        with open_private(part) as file:
            yield file
        part.replace(output)
    except OSError as error:
        if error.filename not in (None, str(part)):  # a failed write has no file name
            raise
        raise InputError(Problem("--output", f"'{output}' cannot be written: {error.strerror}.")) from error
    finally:
        part.unlink(missing_ok=True)


class PredictLoader:
    """Batches of raw rows, one chunk at a time; rows stay in `waiting` until their predictions are written.

    All rows are validated before the first prediction, so that an invalid line is reported at once.

    Args:
        path: File of JSON lines.
        heads: Head of each task to predict.
        tokenizer: Tokenizer of the encoder.
        mixture: Mixture that sets the maximum lengths and batch sizes.
        trained_rows: The kind of rows on which each task was trained.

    Raises:
        InputError: A line is a bad row, or a task cannot read it.
    """

    def __init__(
        self,
        path: Path,
        heads: Mapping[str, Head],
        tokenizer: Any,
        mixture: Mixture,
        trained_rows: TrainedRows,
    ) -> None:
        self._path, self._trained_rows = path, trained_rows
        self._heads, self._tokenizer, self._mixture = dict(heads), tokenizer, mixture
        self.num_rows = self._count()
        self.waiting: Waiting = {}
        """Rows by number, each with the row and the number of examples that every task makes of it."""

    def __iter__(self) -> Iterator[Batch]:
        numbered = enumerate(self._rows())
        while chunk := list(islice(numbered, CHUNK)):
            yield from self._batches(chunk)

    def _rows(self) -> Iterator[Row]:
        return self._reader().read("row")

    def _reader(self) -> Jsonl:
        return Jsonl("", files={"row": str(self._path.absolute())}, on_bad_row="skip")

    def _count(self) -> int:
        num_rows, problems, reader = 0, [], self._reader()
        for row in reader.read("row"):
            num_rows += 1
            for name, head in self._heads.items():
                problem = head.check(self._as_read_by(name, row)) or self._pair_problem(name, row)
                if problem is not None:
                    message = f"The task '{name}' cannot read this row: {shown_rule(problem, row)}."
                    advice = "Choose the tasks that can read all rows with --task." if len(self._heads) > 1 else ""
                    problems.append(Problem(f"{self._path} (row {shown_id(row.id)})", message, advice))
        advice = 'Each line must be a JSON object such as {"text": "…"}. Fix the line, or remove it.'
        problems = [*bad_row_problems(reader.bad_rows, advice), *problems]
        if problems:
            more = len(problems) - LISTED
            rest = [Problem(str(self._path), f"{more} more problems like these.")] if more > 0 else []
            raise InputError(problems[:LISTED] + rest)
        return num_rows

    def _pair_problem(self, name: str, row: Row) -> str | None:
        """Why a task trained on pairs cannot score one text, or the reverse: the prediction would mean nothing."""
        trained, given = self._trained_rows.num_texts.get(name), 1 if row.text_pair is None else 2
        if trained in (None, given):
            return None
        both = ("the row must have one text, got a text_pair", "the row must have a text_pair, got one text")
        return both[trained - 1]

    def _batches(self, chunk: Sequence[tuple[int, Row]]) -> Iterator[Batch]:
        encoded = {name: self._encode(name, head, chunk) for name, head in self._heads.items()}
        for names, inputs in _grouped(encoded).items():
            lengths = np.array([len(by_task[names[0]]["input_ids"]) for by_task in inputs], dtype=np.int64)
            for indices in by_length(np.arange(len(inputs)), lengths, 4 * self._mixture.batch_size, EVALUATION_TOKENS):
                taken = {name: [inputs[i][name] for i in indices] for name in names}
                yield collate([ExampleGroup(taken)], self._heads, keep_examples=True)

    def _encode(self, name: str, head: Head, chunk: Sequence[tuple[int, Row]]) -> list[Example]:
        rows = [self._as_read_by(name, row) for _, row in chunk]
        examples = head.encode(rows, self._tokenizer, self._mixture.max_length_of(name), training=False)
        sizes = np.bincount([example["row"] for example in examples], minlength=len(rows))
        for (number, row), own, size in zip(chunk, rows, sizes, strict=True):
            self.waiting.setdefault(number, (row, {}))[1][name] = (own, int(size))
        numbered = [{**example, "row": chunk[example["row"]][0]} for example in examples]
        return [{**example, "part": part} for part, example in enumerate(numbered)]

    def _as_read_by(self, name: str, row: Row) -> Row:
        """The row, converted to the type on which the task was trained, without gold; raw text has no mentions."""
        head = self._heads[name]
        reads = head.row_type if isinstance(head.row_type, tuple) else (head.row_type,)
        trained = [kind for kind in reads if kind.__name__ == self._trained_rows.row_types.get(name)] or reads
        if isinstance(row, tuple(trained)):
            return head.without_gold(row)
        kind = SpanRow if isinstance(row, TextRow) else TextRow
        return kind(row.id, row.document, row.text, row.text_pair, meta=row.meta)


def _grouped(encoded: Mapping[str, Sequence[Example]]) -> dict[tuple[str, ...], list[dict[str, Example]]]:
    """Each distinct input with the example of each task, grouped by the set of tasks that share it."""
    by_input: dict[tuple[Any, ...], dict[str, Example]] = defaultdict(dict)
    for name, examples in encoded.items():
        times: Counter[tuple[Any, ...]] = Counter()  # two candidate pairs of a task may have the same input
        for example in examples:
            key = (example["row"], tuple(example["input_ids"]), tuple(sequence_lengths(example)))
            by_input[*key, times[key]][name] = example
            times[key] += 1
    groups: dict[tuple[str, ...], list[dict[str, Example]]] = defaultdict(list)
    for by_task in by_input.values():
        groups[tuple(by_task)].append(by_task)
    return groups


class PredictionWriter(Callback):
    """Writes each row as soon as it and all earlier rows are decoded.

    Args:
        loader: Loader of the rows.
        heads: Head of each task to predict.
        file: File to write to.
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
        assert self._next == self._loader.num_rows, "a row was not predicted"

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.close()

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


def _checkpoint_file(checkpoint: str | Path) -> Path:
    path = Path(checkpoint)
    if path.is_dir():
        return RunFolder.open(path).resolve_checkpoint("best")
    if not path.is_file() and path.parent.is_dir() and path.parent.name == "checkpoints":
        return RunFolder.open(path.parent).resolve_checkpoint(path)
    if not path.is_file():
        raise InputError(Problem("--checkpoint", f"'{path}' is neither a checkpoint file nor the folder of a run."))
    if (found := damage(path)) is not None:
        raise InputError(Problem(str(path), f"The file {found}."))
    return path


def _trainer_options(words: Sequence[str]) -> dict[str, Any]:
    """``--trainer.NAME VALUE`` and ``--trainer.NAME=VALUE`` as keyword arguments of the trainer."""
    import inspect

    import yaml

    known = [f"--trainer.{name}" for name in inspect.signature(pl.Trainer).parameters]
    options: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if name not in known:
            raise InputError(Problem(name, f"There is no option '{name}'.", did_you_mean(name, known)))
        if not equals and not waiting:
            raise InputError(Problem(name, "The option needs a value.", f"Write {name} VALUE."))
        options[name.removeprefix("--trainer.")] = yaml.safe_load(value if equals else waiting.pop(0))
    return options

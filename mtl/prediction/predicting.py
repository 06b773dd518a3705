"""Predicts a whole input with a checkpoint, and writes the predictions or returns them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm.auto import tqdm

from heads import Head, Row
from mtl.batching.batch import Batch
from mtl.calibration.saved import calibration_of, temperatures
from mtl.config import components
from mtl.config.mixture import Mixture, TaskSpec
from mtl.data.reading import read_rows
from mtl.data.row_problems import shown_rule
from mtl.data.store import Store
from mtl.hashed_ids import shown_id
from mtl.prediction.inputs import Given, Input, InputRow, open_input
from mtl.prediction.label_sets import set_quantiles, with_set
from mtl.prediction.mentions import Sources, find_sources, parse_choices
from mtl.prediction.one_device import one_device_trainer
from mtl.prediction.output_records import as_record
from mtl.prediction.pipeline import CHUNK, Decoded, Pipeline, as_read_by, lacks_mentions
from mtl.prediction.unfinished import Progress, writing
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import bad_row_problems
from mtl.tracking.checkpoint_file import damage
from mtl.tracking.checkpoint_folder import say
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
from mtl.writers import PredictedRow, PredictionWriter, writer_class

DECIDES_RESULTS = False

LISTED = 20
"""Number of problems with rows that are listed; further ones are only counted."""

SHOWN_ROWS = 5
"""Number of rows that a problem names."""


class Shard(NamedTuple):
    """A share of an input: whole chunks of consecutive rows.

    Args:
        number: Number of the share, from 1.
        num_shards: Number of shares.
    """

    number: int = 1
    num_shards: int = 1

    @classmethod
    def parse(cls, word: str) -> Shard:
        """A share from ``i/n``.

        Raises:
            InputError: The word has another form.

        >>> Shard.parse("2/3")
        Shard(number=2, num_shards=3)
        """
        number, _, num_shards = word.partition("/")
        if number.isdecimal() and num_shards.isdecimal() and 1 <= int(number) <= int(num_shards):
            return cls(int(number), int(num_shards))
        raise InputError(Problem("--shard", "must be i/n with i from 1 to n.", "Such as --shard 1/4."))

    def rows(self, num_rows: int) -> range:
        """The rows of this share. The shares have whole chunks, so that they give the same predictions as the whole.

        >>> Shard(1, 2).rows(200), Shard(2, 2).rows(200)
        (range(0, 128), range(128, 200))
        """
        chunks = -(-num_rows // CHUNK)
        start, stop = (-(-place * chunks // self.num_shards) * CHUNK for place in (self.number - 1, self.number))
        return range(min(start, num_rows), min(stop, num_rows))


@dataclass(frozen=True)
class _Accepted:
    """What is known about an input before the first prediction.

    Args:
        num_rows: Number of rows that are predicted.
        skipped: Numbers of the rows that are skipped, among the readable ones.
        carried: Keys that are carried to the output.
        texts: The first texts, at most two.
    """

    num_rows: int
    skipped: frozenset[int]
    carried: tuple[str, ...]
    texts: tuple[str, ...]


def predict(
    checkpoint: str | Path,
    rows: str | Path | Iterable[Given],
    output: str | Path | None = None,
    *,
    tasks: Sequence[str] | None = None,
    mentions: Sequence[str] = (),
    input_format: str | None = None,
    long: bool = False,
    on_bad_row: Literal["error", "skip"] = "error",
    shard: Shard | str = Shard(),  # noqa: B008  # immutable
    resume: bool = False,
    coverage: float | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]] | None:
    """Predicts texts, and writes the predictions in the format of the output's suffix or returns them.

    Each text gives its id, its document, the keys that it carries and, for each task, the decoded prediction: entities
    with offsets and text, their attributes, relations between indices of entities, labels with their probability. A
    text without an id gets the id `row-` and its line number. Gold labels in the input are ignored. Mentions that the
    input has are related and labelled; a text without any gets the mentions that the entity tasks of the run find.
    Probabilities are calibrated if `mtl calibrate` has calibrated the checkpoint.

    Args:
        checkpoint: Folder of a run to use its best checkpoint, or a checkpoint file.
        rows: A file (`.jsonl`, `.csv`, `.tsv`, `.parquet`, `.txt` with one text per line, `.PubTator`), `-` for
            standard input, or the texts: strings, objects as in JSON lines, or rows.
        output: File to write (`.jsonl`, `.csv`, `.tsv`, `.PubTator`, `.ann`, `.xml`, `.conll`, `.ddi`,
            `.bioasq.json`); an existing one is replaced once all predictions are there. None returns the lines of the
            JSON lines output as dictionaries.
        tasks: Names of the tasks to predict; None predicts all tasks of the mixture except self-supervised ones.
        mentions: Entity tasks that find the mentions of a task, each ``NAME=TASK[,TASK…]``; needed if several tasks
            find the same type.
        input_format: `jsonl`, `table`, `text` or `pubtator`; None decides by the suffix of the input.
        long: Whether a table has one row per entity, relation and label.
        on_bad_row: What to do with rows that cannot be read or that a task cannot predict: `error` reports them before
            the first prediction; `skip` reports and leaves them out.
        shard: The share of the input to predict, such as ``"2/8"``.
        resume: Whether to continue an interrupted prediction with the same arguments.
        coverage: 0.8, 0.9, 0.95 or 0.99: adds to each text, and each task that chooses one label, the `set` of labels
            that contains the right one with this probability. The checkpoint must be calibrated.
        trainer: Options of Lightning's trainer, such as ``{"accelerator": "gpu"}``; only one device is supported.

    Raises:
        InputError: The checkpoint, a task name, an option, the input or the output is invalid.
    """
    path = _checkpoint_file(checkpoint)
    mixture = located(checkpoint_mixture(path), path)
    names = _task_names(mixture, tasks)
    share = Shard.parse(shard) if isinstance(shard, str) else shard
    target = None if output is None else Path(output)
    make_writer = None if target is None else _check_output(target, long=long)
    calibration = calibration_of(path)
    quantiles = set_quantiles(calibration, names, coverage, target)
    source = open_input(rows, [mixture.tasks[name] for name in names], input_format)
    heads, tokenizer = build_heads(mixture)
    content = read_checkpoint(path)
    kinds = trained_rows(content)
    chosen = {name: heads[name] for name in names}
    job = _Job(source, chosen, kinds=kinds, choices=mentions, all_heads=heads, specs=mixture.tasks)
    accepted = job.check(skips=on_bad_row == "skip")
    writer = None
    if target is not None and make_writer is not None:
        writer = make_writer(carried=accepted.carried, long=long, is_first=share.number == 1)
        _check_writer(writer, target, job, names, accepted)
    wanted = share.rows(accepted.num_rows)
    module = build_module(mixture, weights=False)
    module.load_state_dict(content["state_dict"])
    live = {name: module.head(name) for name in job.heads}
    options = {"precision": checkpoint_precision(path), **(trainer or {})}

    def run(first: int, take: _Take) -> None:
        remaining = (one.row for one in islice(job.rows(accepted), first, wanted.stop))
        degrees = temperatures(calibration)
        pipeline = Pipeline(remaining, live, tokenizer, mixture, kinds, sources=job.sources, temperatures=degrees)
        collector = _Collector(pipeline, take, names, quantiles, done=first - wanted.start, total=len(wanted))
        one_device_trainer(options, [collector]).predict(module, _PipelineLoader(pipeline), return_predictions=False)

    if writer is None or target is None:
        found: list[dict[str, Any]] = []
        run(wanted.start, found.extend)
        return [row.to_dict() for row in job.predicted(accepted, wanted, found)]
    signature = {
        "checkpoint": [path.name, path.stat().st_size, path.stat().st_mtime_ns],
        "input": source.digest(),
        "tasks": names,
        "calibration": [sorted(temperatures(calibration).items()), sorted(quantiles.items())],
        "options": [job.sources, source.format, on_bad_row, share, sorted(options.items(), key=str), CHUNK],
    }
    with Progress(target, signature, resume=resume, every=CHUNK) as progress:
        try:
            run(wanted.start + progress.num_resumed, progress.add)
        except BaseException as error:
            if progress.num_rows and not isinstance(error, InputError):
                done = f"{progress.num_rows} of {len(wanted)} rows are predicted"
                say(f"{done}; repeat the command with --resume to continue.")
            raise
        with writing(target):
            writer.write(target, job.predicted(accepted, wanted, progress.read()))
    return None


def split_rows(checkpoint: str | Path, task: str, split: str) -> Iterable[Row]:
    """The rows of a split of a run's own data, which `predict` takes.

    Args:
        checkpoint: Folder of a run, or a checkpoint file.
        task: Name of the task whose data is read.
        split: train, dev or test.

    Raises:
        InputError: The run has no such task, or its data no such split.
    """
    path = _checkpoint_file(checkpoint)
    mixture = located(checkpoint_mixture(path), path)
    _task_names(mixture, [task])
    splits = read_rows(mixture.tasks[task].data, f"tasks.{task}.data", Store())
    if split not in splits:
        raise InputError(Problem("--split", f"The task '{task}' has no split '{split}'.", did_you_mean(split, splits)))
    return splits[split][0]


class _Job:
    """The tasks that predict an input.

    Args:
        source: The input.
        heads: Head of each task to predict.
        kinds: The kind of rows on which each task was trained.
        choices: Entity tasks that the user chose, each ``NAME=TASK[,TASK…]``.
        all_heads: Head of each task of the run.
        specs: Tasks of the mixture.
    """

    def __init__(
        self,
        source: Input,
        heads: Mapping[str, Head],
        *,
        kinds: TrainedRows,
        choices: Sequence[str],
        all_heads: Mapping[str, Head],
        specs: Mapping[str, TaskSpec],
    ) -> None:
        self._source, self._kinds, self._all_heads, self._specs = source, kinds, all_heads, specs
        self._choices = parse_choices(choices, all_heads)
        self.heads = dict(heads)
        """Head of each task to predict, and after `check` of the entity tasks that they need."""
        self.sources: Sources = {}
        """The entity tasks of each task whose mentions must be found, after `check`."""

    def check(self, *, skips: bool) -> _Accepted:
        """Reads the whole input before the first prediction.

        Raises:
            InputError: There are bad rows and `skips` is false, or mentions that a task needs cannot be found.
        """
        rows, bad_rows = self._source.read()
        unreadable: dict[tuple[str, str], list[str]] = defaultdict(list)
        skipped: set[int] = set()
        carried: dict[str, None] = {}
        texts: list[str] = []
        lacking: set[str] = set()
        num_rows = 0
        for number, one in enumerate(rows):
            num_rows += 1
            problems = [(name, rule) for name in self.heads if (rule := self._problem(name, one.row)) is not None]
            for problem in problems:
                unreadable[problem].append(shown_id(one.row.id))
            if problems:
                skipped.add(number)
                continue
            carried |= dict.fromkeys(one.carried)
            lacking |= {name for name in self.heads if self._lacks_mentions(name, one.row)}
            texts += [one.row.text] if len(texts) < 2 else []
        advice = "Fix the row, remove it, or leave bad rows out with --on-bad-row skip."
        refusals = bad_row_problems(bad_rows, "" if skips else advice)
        refusals += [self._refusal(name, rule, ids, skips=skips) for (name, rule), ids in unreadable.items()]
        if refusals and not skips:
            raise InputError(_few(refusals))
        for refusal in _few(refusals):
            say(str(refusal))
        if refusals:
            say(f"{len(bad_rows) + len(skipped)} bad rows are skipped.")
        self._find_sources(sorted(lacking))
        return _Accepted(num_rows - len(skipped), frozenset(skipped), tuple(carried), tuple(texts))

    def rows(self, accepted: _Accepted) -> Iterator[InputRow]:
        """The rows that are predicted."""
        rows, _ = self._source.read()
        return (one for number, one in enumerate(rows) if number not in accepted.skipped)

    def predicted(
        self, accepted: _Accepted, wanted: range, predictions: Iterable[Mapping[str, Any]]
    ) -> Iterator[PredictedRow]:
        """Rows with their predictions, in order."""
        rows = islice(self.rows(accepted), wanted.start, wanted.stop)
        for one, found in zip(rows, predictions, strict=True):
            words = getattr(one.row, "words", None)
            yield PredictedRow(one.row.id, one.row.document, one.row.text, found, one.carried, one.title_end, words)

    def _find_sources(self, lacking: Sequence[str]) -> None:
        problems: list[Problem] = []
        for name in lacking:
            try:
                self.sources[name] = find_sources(self._all_heads, name, self._choices.get(name, ()))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        finders = {finder for names in self.sources.values() for finder in names}
        self.heads |= {name: head for name, head in self._all_heads.items() if name in finders}

    def _lacks_mentions(self, name: str, row: Row) -> bool:
        return lacks_mentions(self.heads[name], row, self._kinds.row_types.get(name))

    def _problem(self, name: str, row: Row) -> str | None:
        """Why a task cannot predict a row, without text of it."""
        head = self.heads[name]
        read = as_read_by(head, row, self._kinds.row_types.get(name))
        problem = head.check(read)
        if problem is not None:
            return shown_rule(problem, read)
        trained, given = self._kinds.num_texts.get(name), 1 if row.text_pair is None else 2
        if trained in (None, given):
            return None
        # With another number of texts than in training, the prediction would mean nothing.
        if trained == 2:
            return f"the task was trained on pairs and needs a second text ({self._pair_names(name)}), got one text"
        return "the task was trained on single texts, got a text_pair"

    def _pair_names(self, name: str) -> str:
        """How an input names the two texts of a task."""
        columns = self._specs[name].data.options.get("columns")
        own = columns if isinstance(columns, Mapping) else {}
        names = [own.get(field, field) for field in ("text", "text_pair")]
        known = " and ".join(f"'{column}'" for column in names)
        return "'text' and 'text_pair'" if not own else f"'text' and 'text_pair', or {known}"

    def _refusal(self, name: str, rule: str, ids: Sequence[str], *, skips: bool) -> Problem:
        rows = ", ".join(ids[:SHOWN_ROWS]) + ", …" * (len(ids) > SHOWN_ROWS)
        counted = f"row {rows}" if len(ids) == 1 else f"{len(ids)} rows: {rows}"
        others = [task for task in self.heads if task != name]
        advice = f"Give what it needs, or choose other tasks: --task {' '.join(others)}." if others else ""
        return Problem(f"tasks.{name}", f"The task '{name}' cannot predict {counted}: {rule}.", "" if skips else advice)


_Take = Callable[[Iterable[dict[str, Any]]], None]
"""Takes the records of the next finished rows."""


class _Collector(Callback):
    """Passes outputs to the pipeline and finished rows on.

    Args:
        pipeline: The pipeline.
        take: Takes the records of the next rows.
        names: Names of the tasks that are written.
        quantiles: The conformal quantile of each task that gets sets of labels.
        done: Number of rows that were finished earlier.
        total: Number of rows.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        take: _Take,
        names: Sequence[str],
        quantiles: Mapping[str, float],
        *,
        done: int,
        total: int,
    ) -> None:
        self._pipeline, self._take, self._names, self._quantiles = pipeline, take, names, quantiles
        self._bar = tqdm(initial=done, total=total, unit="row", desc="predict")

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self._pipeline.add(batch, outputs)
        self._pass_on()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pass_on()
        self._bar.close()
        assert not self._pipeline.num_waiting, "a row was not predicted"

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.close()

    def _record(self, name: str, decoded: Decoded) -> dict[str, Any]:
        record = as_record(decoded.prediction, decoded.row, decoded.scores)
        return with_set(record, self._quantiles.get(name))

    def _pass_on(self) -> None:
        finished = [
            {name: self._record(name, decoded[name]) for name in self._names}
            for _, decoded in self._pipeline.take_finished()
        ]
        if finished:
            self._take(finished)
            self._bar.update(len(finished))


class _PipelineLoader:
    """The batches of a pipeline, as a loader that Lightning accepts."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._pipeline)


def _task_names(mixture: Mixture, tasks: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(tasks or mixture.tasks))
    unknown = [name for name in names if name not in mixture.tasks]
    if unknown:
        raise InputError(
            [Problem("--task", f"There is no task '{n}'.", did_you_mean(n, mixture.tasks)) for n in unknown]
        )
    predicted = [name for name in names if not _is_self_supervised(mixture.tasks[name])]
    if predicted and not tasks:
        return predicted
    learned = [name for name in names if name not in predicted]
    if learned:
        message = f"must name tasks that predict something about a text; {', '.join(learned)} learned from texts alone."
        raise InputError(Problem("--task", message, f"Choices: {', '.join(predicted)}." if predicted else ""))
    return names


def _is_self_supervised(spec: TaskSpec) -> bool:
    return bool(components.find("head", spec.head, "head").self_supervised)


def _check_output(output: Path, *, long: bool) -> type[PredictionWriter]:
    """The writer of an output whose folder exists."""
    writer = writer_class(output)
    if long and not writer.has_long_form:
        raise InputError(Problem("--long", f"has no effect on '{output.name}'.", "Use it with .csv or .tsv."))
    if not output.parent.is_dir():
        raise InputError(Problem("--output", f"'{output}' cannot be written: its folder does not exist."))
    return writer


def _check_writer(writer: PredictionWriter, output: Path, job: _Job, names: Sequence[str], accepted: _Accepted) -> None:
    """Checks that an output can hold the predictions.

    Raises:
        InputError: It cannot.
    """
    holds = [name for name in names if _has_place(writer, job.heads[name])]
    others = [name for name in names if name not in holds]
    if writer.only_mentions and others:
        message = f"'{output.name}' holds mentions and relations only, got {', '.join(others)}."
        advice = f"Add --task {' '.join(holds)}, or write .jsonl, .csv or .xml." if holds else "Write .jsonl or .csv."
        raise InputError(Problem("--output", message, advice))
    if writer.only_labels and holds:
        message = f"'{output.name}' holds labels of texts only, got {', '.join(holds)}."
        advice = f"Add --task {' '.join(others)}, or write .jsonl, .csv or .xml." if others else "Write .jsonl or .csv."
        raise InputError(Problem("--output", message, advice))
    problem = writer.problem(output, names, accepted.texts)
    if problem is not None:
        raise InputError(Problem("--output", f"'{output}' cannot be written: {problem}.", "Choose another path."))


def _has_place(writer: PredictionWriter, head: Head) -> bool:
    """Whether a format that holds only mentions has a place for the predictions of a head."""
    if head.labelling is not None:
        return writer.has_attributes
    return bool(head.mention_types) or head.pairing is not None


def _few(problems: Sequence[Problem]) -> list[Problem]:
    more = len(problems) - LISTED
    return [*problems[:LISTED], *([Problem("--input", f"{more} more problems like these.")] if more > 0 else [])]


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

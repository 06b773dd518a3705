"""Predicts a whole input with a checkpoint, and writes the predictions or returns them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from heads import Head
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.messages import say
from mtl.prediction.input_job import AcceptedInput, InputJob
from mtl.prediction.input_options import InputOptions
from mtl.prediction.inputs import Given, OwnRows
from mtl.prediction.label_sets import set_quantiles
from mtl.prediction.pipeline import CHUNK
from mtl.prediction.predictor import Predictor, task_names
from mtl.prediction.soft_labels import tagging_tasks
from mtl.prediction.unfinished import Progress, writing
from mtl.problems import InputError, Problem, did_you_mean
from mtl.writers import PredictionWriter, writer_class


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


def predict(
    checkpoint: str | Path,
    rows: str | Path | Iterable[Given],
    output: str | Path | None = None,
    *,
    tasks: Sequence[str] | None = None,
    mentions: Sequence[str] = (),
    input_format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    offsets: Literal["check", "trust"] | None = None,
    long: bool = False,
    with_text: bool = False,
    on_bad_row: Literal["error", "skip"] = "error",
    shard: Shard | str = Shard(),  # noqa: B008  # immutable
    resume: bool = False,
    coverage: float | None = None,
    probabilities: bool = False,
    trainer: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]] | None:
    """Predicts texts, and writes the predictions in the format of the output's suffix or returns them.

    Each text gives its id, its document, the keys that it carries and, for each task, the decoded prediction: entities
    with offsets and text, their attributes, relations between indices of entities, labels with their probability. A
    text without an id gets the id `row-` and its line number, and a repeated id gets a number. Gold labels in the input
    are ignored. Mentions that the input has are related and labelled; a text without any gets the mentions that the
    entity tasks of the run find. Texts without sentences are divided into them for tasks that learned from single ones.
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
        input_format: `jsonl`, `table`, `text`, `pubtator` or `bioc`; None decides by the suffix of the input.
        encoding: Encoding of the input, such as ``cp1252``; None takes UTF-8 or, if the file is not valid in
            it, the encoding that an XML file declares or that data of the run has.
        delimiter: Character between the fields of a table; None finds it in the first line.
        quoting: Whether fields of a table may be in quotes, with inner quotes doubled; None is true
            for csv and false for tsv, unless tables of the run with the same layout differ.
        offsets: `trust` takes the offsets of mentions of the input whose text differs from the text there; None and
            `check` make them a bad row.
        long: Whether a table has one row per entity, relation and label.
        with_text: Whether JSON lines and tables have the texts too, so that they can be read as weak labels.
        on_bad_row: What to do with rows that cannot be read or that a task cannot predict: `error` reports them before
            the first prediction; `skip` reports and leaves them out.
        shard: The share of the input to predict, such as ``"2/8"``.
        resume: Whether to continue an interrupted prediction with the same arguments.
        coverage: 0.8, 0.9, 0.95 or 0.99: adds to each text, and each task that chooses one label, the `set` of labels
            that contains the right one with this probability. The checkpoint must be calibrated.
        probabilities: Whether tasks that tag words give the probabilities of the tags of each word too, as soft labels
            for another model; in JSON lines only.
        trainer: Options of Lightning's trainer, such as ``{"accelerator": "gpu"}``; only one device is supported.

    Raises:
        InputError: The checkpoint, a task name, an option, the input or the output is invalid, or the device ran out of
            memory.
    """
    predictor = Predictor(checkpoint, trainer)
    names = task_names(predictor.mixture, tasks)
    share = Shard.parse(shard) if isinstance(shard, str) else shard
    target = None if output is None else Path(output)
    make_writer = None if target is None else _check_output(target, rows, long=long)
    quantiles = set_quantiles(predictor.model.calibration, names, coverage, target)
    written = InputOptions(input_format, encoding, delimiter, quoting, offsets)
    source = replace(predictor.open(rows, names, written), carries_texts=with_text)
    job = predictor.job(source, names, mentions)
    tagging = tagging_tasks({name: job.heads[name] for name in names}, target, wanted=probabilities)
    accepted = job.check(skips=on_bad_row == "skip")
    for note in accepted.notes:
        say(note)
    writer = None
    if target is not None and make_writer is not None:
        writer = make_writer(carried=accepted.carried, long=long, is_first=share.number == 1)
        _check_writer(writer, target, job, names, accepted)
    wanted = share.rows(accepted.num_rows)
    if writer is None or target is None:
        records: list[dict[str, Any]] = []
        with predictor.memory_problems():
            _say_cut(predictor.run(job, accepted, wanted, records.extend, quantiles, tagging=tagging), len(wanted))
            return [row.to_dict() for row in job.predicted(accepted, wanted, records)]
    path, options = predictor.model.checkpoint, sorted(predictor.options.items(), key=str)
    signature = {
        "checkpoint": [path.name, path.stat().st_size, path.stat().st_mtime_ns],
        "input": source.digest(),
        "tasks": names,
        "calibration": [sorted(predictor.model.temperatures.items()), sorted(quantiles.items())],
        "options": [job.sources, source.format, source.options, source.is_own, on_bad_row, share, options, CHUNK],
        "tagging": tagging,
    }
    with Progress(target, signature, resume=resume, every=CHUNK) as progress, predictor.memory_problems():
        try:
            num_rows = len(wanted) - progress.num_resumed
            cut = predictor.run(
                job, accepted, wanted, progress.add, quantiles, tagging=tagging, done=progress.num_resumed
            )
            _say_cut(cut, num_rows)
        except BaseException as error:
            if progress.num_rows and not isinstance(error, InputError):
                done = f"{progress.num_rows} of {len(wanted)} rows are predicted"
                say(f"{done}; repeat the command with --resume to continue.")
            raise
        with writing(target):
            writer.write(target, job.predicted(accepted, wanted, progress.read()))
    return None


def _say_cut(cut: Mapping[str, int], num_rows: int) -> None:
    """Says which tasks truncated texts."""
    for name, number in cut.items():
        if number:
            say(f"The task '{name}' truncated {number} of {num_rows} texts at max_length.")


def split_rows(checkpoint: str | Path, task: str, split: str) -> OwnRows:
    """The rows of a split of a run's own data, which `predict` takes.

    Args:
        checkpoint: Folder of a run, or a checkpoint file.
        task: Name of the task whose data is read.
        split: train, dev or test.

    Raises:
        InputError: The run has no such task, or its data no such split.
    """
    mixture = Predictor(checkpoint).mixture
    task_names(mixture, [task])
    splits = read_rows(mixture.tasks[task].data, f"tasks.{task}.data", Store())
    if split not in splits:
        raise InputError(Problem("--split", f"The task '{task}' has no split '{split}'.", did_you_mean(split, splits)))
    return OwnRows(splits[split][0])


def _check_output(output: Path, rows: object, *, long: bool) -> type[PredictionWriter]:
    """The writer of an output whose folder exists and that is not the file of the input."""
    writer = writer_class(output)
    if long and not writer.has_long_form:
        raise InputError(Problem("--long", f"has no effect on '{output.name}'.", "Use it with .csv or .tsv."))
    if not output.parent.is_dir():
        raise InputError(Problem("--output", f"'{output}' cannot be written: its folder does not exist."))
    if isinstance(rows, str | Path) and str(rows) != "-" and output.exists() and output.samefile(rows):
        raise InputError(Problem("--output", f"'{output}' is the input, which it would replace.", "Name another file."))
    return writer


def _check_writer(
    writer: PredictionWriter, output: Path, job: InputJob, names: Sequence[str], accepted: AcceptedInput
) -> None:
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

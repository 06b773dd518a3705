"""Scores tasks that relate or label mentions on test with predicted mentions, next to the scores on gold mentions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from heads import Head, SpanRow
from mtl.batching.data_module import MixtureData
from mtl.data.examples import document_ranks
from mtl.distributed import gather, rank, world_size
from mtl.evaluation.counts_files import write_counts
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.strict import strict_concept_counts, strict_counts, strict_report, strict_scores
from mtl.messages import say
from mtl.prediction.mentions import (
    ConceptLexicon,
    MentionInput,
    NameConcepts,
    Sources,
    find_sources,
    parse_choices,
)
from mtl.prediction.pipeline import Pipeline
from mtl.problems import InputError, Problem
from mtl.training.checkpoints import TrainedRows

if TYPE_CHECKING:
    from mtl.data.examples import SplitData
    from mtl.tracking.run_folder import RunFolder
    from mtl.training.module import MultiTaskModule

SPLIT = "test"


class EndToEnd(Callback):
    """After the evaluation of test, adds strict scores to the results of each task that relates or labels mentions.

    Mentions are those that entity tasks of the same checkpoint find in the test rows of the task. If relations join
    concepts, a mention gets the concepts of the longest equal surface form in the training documents of the task. Names
    that a task writes get theirs in the same way, from mentions of the types that their relation joins.

    Args:
        data: Data of the run, set up.
        choices: Entity tasks that the user chose, each ``NAME=TASK[,TASK…]``.

    Raises:
        InputError: No such task of the mixture can be scored with predicted mentions; the error says why. If only
            some can, the others are named on stderr.
    """

    def __init__(self, data: MixtureData, choices: Sequence[str] = ()) -> None:
        self.folder: RunFolder | None = None
        """Folder of the run, which gets the counts per document as ``counts/test/TASK.end_to_end.npz``."""
        self._data = data
        self._sources = _scored_tasks(data, choices)
        self._name_concepts = {
            name: NameConcepts(
                map(_span_row, data.tasks[name]["train"].rows), directed=data.heads[name].writes_directed
            )
            for name in self._sources
            if data.heads[name].writes_relations
        }

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast("MultiTaskModule", pl_module)
        for task in self._sources:
            result = self._scored(task, module, trainer)
            if self.folder is not None and trainer.is_global_zero:
                write_counts(self.folder.path / "counts" / SPLIT / f"{task}.end_to_end.npz", result)
            on_gold = module.results[SPLIT][task]
            module.results[SPLIT][task] = replace(on_gold, scores={**on_gold.scores, **result.scores})
            for logger in trainer.loggers:
                named = {f"{SPLIT}/{task}/{name}": value for name, value in result.scores.items()}
                logger.log_metrics(named, step=trainer.global_step)

    def _scored(self, task: str, module: MultiTaskModule, trainer: pl.Trainer) -> TaskResult:
        split = self._data.tasks[task][SPLIT]
        own = [index for index, owner in enumerate(document_ranks(split, world_size())) if owner == rank()]
        head = module.head(task)
        # Rows without gold stay: what is found in them is wrong. Refused ones do not count on gold mentions either.
        gold = [row for row in (_span_row(split.rows[index]) for index in own) if head.check(row) is None]
        counts: defaultdict[str, list[Tensor]] = defaultdict(list)
        pipeline = self._pipeline(task, gold, module)
        remaining = iter(gold)
        for batch in pipeline:
            pipeline.add(batch, _outputs(module, trainer, batch))
            self._count(head, task, pipeline, remaining, counts)
        self._count(head, task, pipeline, remaining, counts)
        assert not pipeline.num_waiting, "a row was not predicted"
        documents = {name: torch.stack(own).sum(0) for part in gather(dict(counts)) for name, own in part.items()}
        names = sorted(documents)
        return _result(head, names, [documents[name] for name in names], sum(gather(len(gold))))

    def _count(
        self,
        head: Head,
        task: str,
        pipeline: Pipeline,
        gold: Iterable[SpanRow],
        counts: dict[str, list[Tensor]],
    ) -> None:
        for (_, decoded), row in zip(pipeline.take_finished(), gold, strict=False):
            found = decoded[task]
            if head.writes_relations:
                relations = self._name_concepts[task](head.written_relations(found.prediction))
                counts[row.document].append(strict_concept_counts(head, relations, row))
            else:
                counts[row.document].append(strict_counts(head, _span_row(found.row), found.prediction, row))

    def _pipeline(self, task: str, rows: Sequence[SpanRow], module: MultiTaskModule) -> Pipeline:
        data, head = self._data, module.head(task)
        linkers = {}
        if head.pairing is not None and head.pairing.level == "concept":
            train = map(_span_row, data.tasks[task]["train"].rows)
            linkers[task] = ConceptLexicon(train, head.pairing.merge)
        names = [task, *self._sources[task]]
        kinds = data.state_dict()
        return Pipeline(
            rows,
            {name: module.head(name) for name in names},
            data.tokenizer,
            data.mixture,
            TrainedRows(kinds["row_types"], kinds["num_texts"]),
            sources={} if head.writes_relations else {task: self._sources[task]},
            linkers=linkers,
            predicts_all_mentions=True,
        )


def _scored_tasks(data: MixtureData, choices: Sequence[str]) -> Sources:
    """The tasks that can be scored, with their entity tasks."""
    chosen = parse_choices(choices, data.heads)
    sources: Sources = {}
    problems: list[Problem] = []
    for name, head in data.heads.items():
        reads_mentions = MentionInput.of(head) is not None
        if SPLIT not in data.tasks[name] or not (reads_mentions or head.writes_relations):
            continue
        if head.writes_relations:
            if _relates_concepts(data.tasks[name][SPLIT]):
                sources[name] = ()
            else:
                message = f"The relations of '{name}' join mentions, and a written name has no place in the text."
                problems.append(Problem(f"tasks.{name}", message))
            continue
        if not _has_mentions(data.tasks[name][SPLIT]):
            message = f"The rows of '{name}' are texts with placeholders, which have no mentions to find."
            problems.append(Problem(f"tasks.{name}", message))
            continue
        try:
            sources[name] = find_sources(data.heads, name, chosen.get(name, ()))
        except InputError as error:
            problems += error.problems
    if not sources:
        message = "needs a task with a test split that relates or labels mentions, with an entity task that finds them,"
        message += " or that writes relations between concepts."
        none = Problem("--end-to-end", message)
        raise InputError(problems or none)
    for problem in problems:
        say(f"Not scored end to end: {problem}")
    return sources


def _relates_concepts(split: SplitData) -> bool:
    """Whether the relations of a split join concept ids; false if it has no relations."""
    row = next((row for row in map(_span_row, split.rows) if row.relations), None)
    return row is not None and row.relations[0].head not in {entity.id for entity in row.entities}


def _has_mentions(split: SplitData) -> bool:
    return isinstance(split.rows[0], SpanRow)


def _outputs(module: MultiTaskModule, trainer: pl.Trainer, batch: Any) -> dict[str, list[Tensor]]:
    """The outputs of a batch on the trainer's device and in its precision."""
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        return module.predict_step(trainer.strategy.batch_to_device(batch), 0)


def _result(head: Head, documents: list[str], counts: list[Tensor], num_rows: int) -> TaskResult:
    total = torch.stack(counts).sum(0)
    flat = [count.flatten() for count in counts]
    return TaskResult(strict_scores(total), documents, flat, strict_report(head, total), num_rows)


def _span_row(row: Any) -> SpanRow:
    assert isinstance(row, SpanRow)
    return row

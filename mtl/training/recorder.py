"""Records a run in its folder and in MLflow, and prints the table of its scores."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from heads import ClassReport
from mtl.batching.data_module import MixtureData
from mtl.batching.gated_data import GatedData
from mtl.batching.loaders import limited
from mtl.data.examples import accounts
from mtl.distributed import is_rank_zero
from mtl.evaluation import summary
from mtl.evaluation.baselines import trivial_baselines
from mtl.evaluation.counts_files import write_counts
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.frozen import FrozenBaseline
from mtl.evaluation.intervals import ScoreInterval, score_intervals
from mtl.evaluation.predictions import shared_copy
from mtl.evaluation.resampling_units import units_of_split
from mtl.evaluation.strict import PRIMARY
from mtl.evaluation.units import unit_of
from mtl.hashed_ids import without_ids
from mtl.problems import InputError, Problem
from mtl.readers import SPLITS
from mtl.tracking.checkpoint_folder import BEST
from mtl.tracking.run_folder import is_private_folder
from mtl.tracking.tracker import MLflowTracker
from mtl.training.averaging import WeightAverage
from mtl.training.run_description import run_description, training_cautions
from mtl.training.selection import MIXTURE
from mtl.training.subgroup_report import group_cautions, group_columns, group_metrics, group_table, groups_of
from mtl.training.surface_report import surface_lines, surfaces_of, with_surfaces, write_surface_counts
from mtl.training.undertrained import DevCurves

if TYPE_CHECKING:
    from rich.table import Table

    from mtl.evaluation.subgroups import FieldScores
    from mtl.evaluation.surfaces import SurfaceScores
    from mtl.tracking.run_folder import RunFolder
    from mtl.training.module import MultiTaskModule


PREFIXES = {"dev": "val", "test": "test"}
"""Start of the names of the metrics of a split."""


class RunRecorder(Callback):
    """Records configuration, data, scores and reports of a run.

    Numbers go to the trainer's loggers, like those that the module logs; reports and inputs go to the tracker. The
    trainer must be given a `MixtureData`, whose mixture, rows and examples are recorded.

    Args:
        folder: Folder of the run.
        tracker: Tracker of the run in MLflow; None records the run in its folder only.
        config: The whole resolved configuration of the command.
        baselines: Whether to score trivial predictors at the end.
        frozen: Whether `frozen` is among them.
        predictions: Whether to keep the predictions that the module saves; if not, they are used for scores only.
        says: Prints a line when the trivial predictors of a task are scored; None prints none.
    """

    def __init__(
        self,
        folder: RunFolder,
        tracker: MLflowTracker | None,
        config: Mapping[str, Any],
        *,
        baselines: bool = True,
        frozen: bool = True,
        predictions: bool = True,
        says: Callable[[str], None] | None = None,
    ) -> None:
        self._folder, self._tracker, self._config = folder, tracker, dict(config)
        self._baselines, self._frozen, self._predictions = baselines, frozen, predictions
        self._says = says
        self._selected: dict[str, ClassReport] = {}
        self._lines: list[summary.ResultLine] = []
        self._title = ""
        self._keeps_status = False
        self._first_losses: dict[str, float] = {}
        self._num_marked = 0
        self._cautions: list[str] = []
        self._notes: list[str] = []
        self._curves = DevCurves()
        self._groups: Table | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _data(trainer)
        # An evaluation must not change the status of the training in this folder; `on_fit_start` writes this file.
        self._keeps_status = stage != "fit" and (self._folder.path / "mixture.yaml").is_file()
        if self._tracker is not None:
            self._tracker.keeps_status = self._keeps_status
        self._set_status(trainer, "RUNNING")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._set_status(trainer, "FINISHED")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._record_marked(trainer, pl_module)
        self._drop_predictions(pl_module)
        self._set_status(trainer, "KILLED" if isinstance(exception, KeyboardInterrupt | SIGTERMException) else "FAILED")

    def _set_status(self, trainer: pl.Trainer, status: str) -> None:
        """Sets the status of a run without a tracker; a tracker sets the status itself."""
        if self._tracker is None and trainer.is_global_zero and not self._keeps_status:
            self._folder.update_info(status=status)

    def is_running(self) -> bool:
        """Whether the training, or the evaluation, has no final status yet."""
        return self._keeps_status or self._folder.info.get("status") == "RUNNING"

    def beat(self) -> None:
        """Shows processes on other machines that the training is alive."""
        if not self._keeps_status and is_rank_zero():
            self._folder.beat()

    def note(self, reason: str) -> None:
        """Records why the training is going to end."""
        if not self._keeps_status:
            self._folder.update_info(reason=reason)

    def end(self, status: str, reason: str) -> None:
        """Records how the training ended, if nothing has recorded it yet. Any thread of any rank may call this.

        Args:
            status: FAILED or KILLED.
            reason: Why the run ended.
        """
        if self._keeps_status or not self._folder.end(status, reason) or self._tracker is None:
            return
        if is_rank_zero():
            self._tracker.finalize(status.lower())
        else:
            self._folder.end_in_mlflow()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data = _data(trainer)
        self._folder.write_text("mixture.yaml", _yaml(data.mixture.to_dict()))
        self._folder.write_text("config.yaml", _yaml(self._config))
        private = any(spec.data.private for spec in data.mixture.tasks.values())
        private = private or is_private_folder(data.mixture.encoder.tokenizer)
        config = cast("MultiTaskModule", pl_module).encoder.config
        self._folder.write_encoder(config, data.tokenizer, private=private)
        if isinstance(data, GatedData) and data.leakage is not None:
            self._folder.write_json("leakage.json", data.leakage.to_dict())
        heads = {name: cast("MultiTaskModule", pl_module).head(name) for name in data.mixture.tasks}
        first = {name: head.first_weights for name, head in heads.items() if head.first_weights is not None}
        if first:
            self._folder.update_info(first_weights=first)
        if self._tracker is not None:
            self._track_inputs(self._tracker, trainer, data)
            self._tracker.log_hyperparams({"first_weights": first} if first else {})

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        for task, loss in cast("MultiTaskModule", pl_module).train_losses.items():
            self._first_losses.setdefault(task, loss)
        self._record_marked(trainer, pl_module)
        every = cast(Any, trainer).log_every_n_steps
        if every and trainer.global_step % every == 0 and not trainer.fit_loop._should_accumulate():
            self._log_rates(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        every = cast(Any, trainer).log_every_n_steps
        if not every or trainer.global_step % every:
            self._log_rates(trainer)

    def _log_rates(self, trainer: pl.Trainer) -> None:
        rates: dict[str, float] = {}
        for group in trainer.optimizers[0].param_groups:  # of the layers of an encoder, the highest rate
            name = f"learning_rate/{group['name'].partition('/')[0]}"
            rates[name] = max(group["lr"], rates.get(name, 0.0))
        _log(trainer, rates, trainer.global_step)

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records what the tasks that are only evaluated score before the training."""
        if trainer.is_global_zero:
            results = cast("MultiTaskModule", pl_module).results["dev"]
            kept = _data(trainer).mixture.tasks.keys() - _data(trainer).mixture.trained()
            self._folder.write_metrics("before", {task: results[task].scores for task in kept & results.keys()})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = cast("MultiTaskModule", pl_module)
        results = module.results["dev"]
        if trainer.state.fn == "fit":
            for task in results.keys() & module.selection.primary_metrics.keys():
                self._curves.add(task, results[task].scores[module.head(task).primary_metric])
        if trainer.state.fn != "fit":
            self._record_evaluation(trainer, module, "dev")
        elif MIXTURE in module.selection.improved:
            self._selected = _reports(results)
            self._write("dev", results)
            self._keep_predictions(pl_module)
        else:
            self._drop_predictions(pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._record_evaluation(trainer, cast("MultiTaskModule", pl_module), "test")

    def _record_evaluation(self, trainer: pl.Trainer, module: MultiTaskModule, split: str) -> None:
        """Records an evaluation of a checkpoint, with the scores on seen and unseen mentions."""
        surfaces = surfaces_of(_data(trainer), split, module.kept)
        results = with_surfaces(module.results[split], surfaces)
        groups = groups_of(_data(trainer), split, module.kept)
        self._write(split, results)
        write_surface_counts(self._folder.path / "counts" / split, surfaces)
        for task, scores in surfaces.items():
            named = {f"{PREFIXES[split]}/{task}/{name}": value for name, value in scores.scores().items()}
            _log(trainer, {name: value for name, value in named.items() if math.isfinite(value)}, trainer.global_step)
        self._keep_predictions(module)
        intervals = self._write_intervals(trainer, split, results, surfaces)
        self._record_groups(trainer, split, groups)
        self._finish(trainer, split, _reports(results), intervals)
        self._notes = [f"{task}: {scores.overlap.described(split)}" for task, scores in surfaces.items()]
        self._lines += surface_lines(split, surfaces, intervals)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._record_marked(trainer, pl_module)
        losses = cast("MultiTaskModule", pl_module).train_losses
        risen = {task: loss for task, loss in losses.items() if has_diverged(self._first_losses.get(task), loss)}
        if risen or "risen_losses" in self._folder.info:  # of an earlier end of the same training
            self._folder.update_info(risen_losses=risen)
        self._folder.write_metrics("train", {task: {"loss": loss} for task, loss in losses.items()})
        self._record_undertrained(_data(trainer))
        averages = [one for one in trainer.callbacks if isinstance(one, WeightAverage)]  # type: ignore[attr-defined]
        if averages or "not_averaged" in self._folder.info:
            self._folder.update_info(not_averaged=not all(one.has_started for one in averages))
        self._record_kept(trainer)
        self._finish(trainer, "dev", self._selected, {})

    def show(self) -> None:
        """Prints the table of the run, if this process recorded one."""
        if not self._lines:
            return
        console = Console()
        console.print(summary.result_table(self._lines, title=self._title))
        if self._groups is not None:
            console.print(self._groups)
        for note in self._notes:
            console.print(note, soft_wrap=True, highlight=False, markup=False)
        for caution in self._all_cautions():
            console.print(f"Caution: {caution}", soft_wrap=True, highlight=False)
        console.print(f"Run folder: {self._folder.path}", soft_wrap=True, highlight=False)
        if self._tracker is not None:
            console.print(f"See it in MLflow: {self._tracker.ui_hint()}", soft_wrap=True, highlight=False)

    def _all_cautions(self) -> list[str]:
        """Those of the training, whichever process trained, and those of this evaluation."""
        return [*training_cautions(self._folder.info, self._folder.metrics), *dict.fromkeys(self._cautions)]

    def state_dict(self) -> dict[str, Any]:
        reports = {task: report._asdict() for task, report in self._selected.items()}
        return {"reports": reports, "first_losses": self._first_losses, "curves": self._curves.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._selected = {task: ClassReport(**report) for task, report in state_dict["reports"].items()}
        self._first_losses = dict(state_dict.get("first_losses", {}))
        if "curves" in state_dict:  # which checkpoints of earlier versions do not have
            self._curves.load_state_dict(state_dict["curves"])

    def _record_groups(self, trainer: pl.Trainer, split: str, groups: Mapping[str, Sequence[FieldScores]]) -> None:
        """Records the scores of groups, where scores of the split are recorded too."""
        self._cautions += group_cautions(_data(trainer).mixture.evaluation.groups, groups)
        if not groups:
            return
        if split == "test" or "test" not in self._folder.metrics:
            content = {task: {one.field: one.to_dict() for one in fields} for task, fields in groups.items()}
            self._folder.write_metrics("groups", content)
        for task, fields in groups.items():
            _log(trainer, group_metrics(f"{PREFIXES[split]}/{task}", fields), trainer.global_step)
            if self._tracker is not None:
                self._tracker.log_table(group_columns(fields), f"{split}/{task}/groups.json")
        self._groups = group_table(groups)

    def _record_marked(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Records the updates that the guard withheld or clipped, with the ids of their rows, if there are new ones."""
        marked = cast("MultiTaskModule", pl_module).marked
        if len(marked) == self._num_marked or not trainer.is_global_zero:
            return
        self._num_marked = len(marked)
        data = _data(trainer)
        lines = (
            {"update": one.update, "reason": one.mark.name.lower(), "rows": data.rows_of_update(one.update)}
            for one in marked
        )
        # Rewrites all lines: a resumed run may have lost updates that the file still has.
        self._folder.write_text("guard.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        counts = Counter(one.mark.name.lower() for one in marked)
        self._folder.update_info(guard=dict(counts))
        _log(trainer, {f"guard/{name}": count for name, count in counts.items()}, trainer.global_step)

    def _record_undertrained(self, data: MixtureData) -> None:
        units = {
            task: unit_of(data.heads[task], splits["dev"].rows)
            for task, splits in data.tasks.items()
            if "dev" in splits
        }
        flags = self._curves.undertrained(units)
        self._folder.write_metrics("train", {task: {"undertrained": flag} for task, flag in flags.items()})
        tasks = [task for task, flag in flags.items() if flag]
        if self._tracker is not None:
            self._tracker.set_tags({"undertrained": ", ".join(tasks) or "no task"})

    def _record_kept(self, trainer: pl.Trainer) -> None:
        """Records what the training has changed in the tasks that it only evaluates."""
        metrics = self._folder.metrics
        for task, before in metrics.get("before", {}).items():
            name = _data(trainer).heads[task].primary_metric
            old, new = before[name], metrics.get("dev", {}).get(task, {}).get(name)
            if old is None or new is None:
                continue
            _log(trainer, {f"kept/{task}/before": old, f"kept/{task}/change": new - old}, trainer.global_step)
            self._notes.append(
                f"{task} was kept: {name} on dev {old:.3f} before this training, {new:.3f} after ({new - old:+.3f})"
            )

    def _write(self, split: str, results: Mapping[str, TaskResult]) -> None:
        """Writes scores, and the counts per document, which studies resample."""
        self._folder.write_metrics(split, {task: result.scores for task, result in results.items()})
        for task, result in results.items():
            write_counts(self._folder.path / "counts" / split / f"{task}.npz", result)

    def _write_intervals(
        self,
        trainer: pl.Trainer,
        split: str,
        results: Mapping[str, TaskResult],
        surfaces: Mapping[str, SurfaceScores],
    ) -> dict[str, dict[str, ScoreInterval]]:
        """Computes the intervals of the scores of each task, and writes and tracks them."""
        data = _data(trainer)
        units = units_of_split(data.tasks, split, data.mixture.evaluation.unit)
        found = {task: score_intervals(data.heads[task], one, units=units[task]) for task, one in results.items()}
        for task, scores in surfaces.items():
            found[task] |= scores.intervals(data.heads[task], units[task])
        if split == "test" or "test" not in self._folder.metrics:
            plain = {task: {name: one._asdict() for name, one in own.items()} for task, own in found.items()}
            self._folder.write_metrics("interval", plain)
        if self._tracker is not None:
            for task, intervals in found.items():
                columns = summary.score_table(results[task].scores, intervals)
                self._tracker.log_table(columns, f"{split}/{task}/intervals.json")
        return found

    def _keep_predictions(self, pl_module: pl.LightningModule) -> None:
        kept = cast("MultiTaskModule", pl_module).kept
        if not self._predictions:
            self._drop_predictions(pl_module)
            with suppress(OSError):  # it may hold predictions of an earlier evaluation
                (self._folder.path / "predictions").rmdir()
            return
        if kept is not None:
            kept.merge()

    def _drop_predictions(self, pl_module: pl.LightningModule) -> None:
        """Drops the predictions of an evaluation that was not selected or did not finish."""
        kept = cast("MultiTaskModule", pl_module).kept
        if kept is not None:
            kept.discard()

    def _finish(
        self,
        trainer: pl.Trainer,
        split: str,
        reports: Mapping[str, ClassReport],
        intervals: Mapping[str, Mapping[str, ScoreInterval]],
    ) -> None:
        data = _data(trainer)
        baselines = self._score_baselines(trainer, split) if self._baselines else {}
        primary = {task: head.primary_metric for task, head in data.heads.items()}
        strongest = {task: summary.strongest_baseline(scores, primary[task]) for task, scores in baselines.items()}
        self._write_baselines(split, baselines, strongest)
        if trainer.state.fn != "fit":
            self._note_checkpoint(trainer, split)
        for task, by_predictor in baselines.items():
            if (one := strongest[task]) is not None:
                _log(trainer, {f"baseline/{split}/{task}/{primary[task]}": one.value}, 0)
            for predictor, scores in by_predictor.items():
                prefix = f"baseline/{split}/{task}/{predictor}"
                _log(trainer, {f"{prefix}/{name}": value for name, value in scores.items()}, 0)
        self._title = f"{data.mixture.name}, trivial predictors on {split}"
        self._lines = _result_lines(self._folder.metrics, primary, split, strongest, intervals)
        if self._tracker is not None:
            self._track_reports(self._tracker, split, reports)
            self._track_predictions(self._tracker, split, data)
            self._track_scores(self._tracker, split)

    def _write_baselines(
        self,
        split: str,
        baselines: Mapping[str, Mapping[str, Mapping[str, float]]],
        strongest: Mapping[str, summary.Baseline | None],
    ) -> None:
        best = {task: baselines[task][one.name] for task, one in strongest.items() if one is not None}
        if split == "test" or "test" not in self._folder.metrics:
            self._folder.write_metrics("baseline", best)
        file = self._folder.path / "baselines.json"
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self._folder.write_json(file.name, {**before, split: baselines})

    def _track_predictions(self, tracker: MLflowTracker, split: str, data: MixtureData) -> None:
        """Sends the predictions of the selected evaluation, which an earlier process may have made."""
        kept = (self._folder.path / "predictions" / split).glob("*.jsonl") if self._predictions else ()
        for path in sorted(kept):
            shared = self._folder.artifacts / "predictions" / split / path.name
            labels = None if data.mixture.privacy.log_text else data.heads[path.stem].labels
            tracker.log_artifact(shared_copy(path, shared, labels), f"predictions/{split}")

    def _track_scores(self, tracker: MLflowTracker, split: str) -> None:
        metrics = self._folder.metrics
        scored = {part: metrics[part] for part in (*SPLITS, "baseline") if part in metrics}
        tracker.log_table(summary.scores_table(scored), "scores.json")
        best = self._folder.saved.pointers().get(BEST, {}).get("path")
        note = run_description(self._lines, self._folder.path, split, self._all_cautions(), best=best)
        tracker.set_tags({"mlflow.note.content": note})

    def _score_baselines(self, trainer: pl.Trainer, split: str) -> dict[str, dict[str, dict[str, float]]]:
        """The scores of the trivial predictors on the split, or on dev for tasks without that split."""
        data = _data(trainer)
        frozen = FrozenBaseline(data.mixture, trainer.strategy.root_device) if self._frozen else None
        scores: dict[str, dict[str, dict[str, float]]] = {}
        for task, splits in data.tasks.items():
            scored = split if split in splits else "dev"
            limit = data.heads[task].validation_documents if trainer.state.fn == "fit" else None
            rows = splits[scored] if limit is None else limited(splits[scored], limit)  # as `EvaluationLoader` does
            if self._says is not None:
                self._says(f"{scored}: scoring the trivial predictors of {task}")
            scores |= trivial_baselines(data.heads, {task: {**splits, scored: rows}}, scored, frozen)
        if frozen is not None and frozen.problem is not None:
            self._cautions.append(f"The trivial predictor `frozen` is missing: {frozen.problem}")
        return scores

    def _note_checkpoint(self, trainer: pl.Trainer, split: str) -> None:
        """Records which checkpoint the scores of a split come from, since it need not be the best."""
        checkpoint = Path(str(trainer.ckpt_path)).name
        self._folder.update_info(evaluated={**self._folder.info.get("evaluated", {}), split: checkpoint})

    def _track_inputs(self, tracker: MLflowTracker, trainer: pl.Trainer, data: MixtureData) -> None:
        mixture = without_ids(data.mixture.to_dict())
        config = {**self._config, "mixture": mixture} if "mixture" in self._config else self._config
        tracker.log_hyperparams(config)
        tracker.log_text(_yaml(mixture), "mixture.yaml")
        tracker.log_text(_yaml(config), "config.yaml")
        tracker.log_versions(str(trainer.strategy.root_device))
        if isinstance(data, GatedData) and data.leakage is not None:
            counts = data.leakage.to_dict(name=None)  # ids stay in the folder of the run
            tracker.log_text(json.dumps(counts, indent=2), "leakage.json")
        rates = data.schedule.rates()
        for task, splits in data.tasks.items():
            path = data.mixture.tasks[task].data.path
            source = path if isinstance(path, str) else json.dumps(path)
            for split, content in splits.items():
                rows = content.row_summary
                tracker.log_dataset(task, split, rows.fingerprint, rows.rows, source)
                _log(trainer, {f"data/{task}/{split}/{name}": count for name, count in accounts(content).items()}, 0)
            if task in rates:
                _log(trainer, {f"data/{task}/rate": rates[task]}, 0)
        tracker.log_table(rows_table(data), "data.json")

    def _track_reports(self, tracker: MLflowTracker, split: str, reports: Mapping[str, ClassReport]) -> None:
        for task, report in reports.items():
            if report.per_class:
                tracker.log_table(summary.per_class_table(report), f"{split}/{task}/per_class.json")
            if report.confusion is not None:
                figure = summary.confusion_figure(report, f"{task}, {split}")
                tracker.log_figure(figure, f"{split}/{task}/confusion.png")
                columns: dict[str, list[Any]] = {"gold": list(report.classes)}
                for place, predicted in enumerate(report.classes):
                    columns[predicted] = [line[place] for line in report.confusion]
                tracker.log_table(columns, f"{split}/{task}/confusion.json")


def _log(trainer: pl.Trainer, metrics: Mapping[str, float], step: int) -> None:
    """Sends numbers to all loggers of the trainer."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=step)


def rows_table(data: MixtureData) -> dict[str, list[Any]]:
    """What became of the rows of each split, and the rate of each task, as columns."""
    rates = data.schedule.rates()
    lines = [
        {"task": task, "split": split, **accounts(content), "rate": rates.get(task) if split == "train" else None}
        for task, splits in data.tasks.items()
        for split, content in splits.items()
    ]
    return {name: [line[name] for line in lines] for name in lines[0]}


def _result_lines(
    metrics: Mapping[str, Any],
    primary: Mapping[str, str],
    split: str,
    strongest: Mapping[str, summary.Baseline | None],
    intervals: Mapping[str, Mapping[str, ScoreInterval]],
) -> list[summary.ResultLine]:
    """The lines of the table at the end of a run: the primary metric of each task, and end-to-end scores on test."""
    lines = [
        summary.ResultLine(
            task,
            metric,
            metrics.get("dev", {}).get(task, {}).get(metric),
            metrics.get("test", {}).get(task, {}).get(metric) if split == "test" else None,
            strongest.get(task),
            intervals.get(task, {}).get(metric),
            bool(metrics.get("train", {}).get(task, {}).get("undertrained")),
        )
        for task, metric in primary.items()
    ]
    if split == "test":
        # The trivial predictors get gold mentions, so this score is not compared with theirs.
        lines += [
            summary.ResultLine(task, PRIMARY, test=scores[PRIMARY])
            for task, scores in metrics.get("test", {}).items()
            if PRIMARY in scores
        ]
    return lines


DIVERGED_LOSS = 100.0
"""A loss that no working model has: a uniform guess among 30,000 tokens costs 10.3, and numbers are scaled."""


def has_diverged(first: float | None, last: float) -> bool:
    """Whether a training loss ended far above where it began, or above that of any model that knows nothing.

    >>> has_diverged(0.7, 9000.0), has_diverged(0.7, 0.9), has_diverged(None, 9000.0), has_diverged(9000.0, 9000.0)
    (True, False, True, True)
    """
    return last > DIVERGED_LOSS or (first is not None and last > 3 * max(first, 1.0))


def _reports(results: Mapping[str, TaskResult]) -> dict[str, ClassReport]:
    return {task: result.report for task, result in results.items()}


def _data(trainer: pl.Trainer) -> MixtureData:
    """The data module of the trainer.

    Raises:
        InputError: It has none, or not one of a mixture.
    """
    data = cast(Any, trainer).datamodule
    if not isinstance(data, MixtureData):
        message = f"RunRecorder records a MixtureData, got {type(data).__name__}."
        raise InputError(Problem("datamodule", message, "Give the trainer a MixtureData, or leave RunRecorder out."))
    return data


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)

"""Scores on data sets of the Hugging Face hub, in the format of its evaluation results."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mtl.config.mixture import DataSpec
from mtl.prediction.trained_model import TrainedModel

_COMMIT = re.compile(r"[0-9a-f]{40}")


def evaluation_results(run: TrainedModel, task: str) -> dict[str, str]:
    """The content of `.eval_results/<task>.yaml` by its name; empty unless the test set of the hub was scored as it is.

    It is empty if test was scored with another checkpoint, or has other rows or labels than on the hub.

    The hub shows such a result on the page of the model and on the leaderboard of the data set. The value is that of
    the task's primary metric, which the notes name.

    Args:
        run: The run.
        task: Name of the task.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    data = run.trained_mixture.tasks[task].data
    metric = run.module.head(task).primary_metric
    value = run.folder.metrics.get("test", {}).get(task, {}).get(metric)
    name = hub_data(data)
    if name is None or value is None or _is_changed(data) or not _is_of(run):
        return {}
    revision = str(data.options.get("revision"))
    entry = EvalResultEntry(
        dataset_id=name,
        task_id=str(data.options.get("config") or "default"),
        value=value,
        dataset_revision=revision if _COMMIT.fullmatch(revision) else None,
        notes=f"{metric} of the task {task}, by biomtl",
    )
    return {f".eval_results/{task}.yaml": yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)}


def _is_changed(data: DataSpec) -> bool:
    """Whether the rows of test differ from those of the split `test` on the hub."""
    splits = data.options.get("split_names") or {"test": "test"}
    lacks_rows = data.limit is not None and bool(data.limit.test)
    skips_rows = bool(data.sources) or data.options.get("on_bad_row") == "skip"
    is_renamed = bool(data.rename) or data.annotated is not None
    return data.split is not None or splits.get("test") != "test" or lacks_rows or skips_rows or is_renamed


def _is_of(run: TrainedModel) -> bool:
    """Whether test was scored with the checkpoint that is exported."""
    return bool(run.folder.info.get("evaluated", {}).get("test") == run.checkpoint.name)


def hub_data(data: DataSpec) -> str | None:
    """The name of a data set on the hub, OWNER/NAME; None if it is on this machine or has another reader."""
    is_hub = data.reader == "hub" and isinstance(data.path, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", data.path)
    return str(data.path) if is_hub and not Path(str(data.path)).exists() else None

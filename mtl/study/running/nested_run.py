"""Sends a finished run of a study to MLflow: what its nested run shows, and what a report needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mtl.files import read_json
from mtl.hashed_ids import without_ids
from mtl.study.running.ledger import shared_counts
from mtl.study.running.read_back import FILES, RUN
from mtl.tracking.mlflow_run import MLflowRun, Number

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec


def send_run(parent: MLflowRun, study: str, run_spec: RunSpec, folder: Path) -> str:
    """Sends a finished run, or completes one that was partly sent, and returns its MLflow id.

    Args:
        parent: Parent run of the study.
        study: Name of the study.
        run_spec: Spec of the run.
        folder: Folder of the run in the ledger.
    """
    begun = _begun(parent, run_spec.key)
    if begun is not None and begun.info.status == "FINISHED":  # another driver was faster
        return str(begun.info.run_id)
    result = read_json(folder / FILES[0])
    # The time of the file, so that MLflow recognises numbers that are sent again.
    ended = int(1000 * (folder / FILES[0]).stat().st_mtime)
    if begun is None:
        started = ended - int(1000 * result["cost"]["seconds"])
        tags = _tags(parent, study, run_spec)
        begun = parent.client.create_run(parent.experiment_id, start_time=started, run_name=run_spec.name, tags=tags)
    run = MLflowRun(parent.client, begun)
    if "taken_over" in result:
        run.set_tags({"taken_over": result["taken_over"]["from"]})
    run.log_params(_params(run_spec, result))
    run.log_metrics(list(_numbers(result, ended)))
    with TemporaryDirectory() as temporary:
        for path in (folder / FILES[0], shared_counts(folder / FILES[1], Path(temporary))):
            run.log_file(path)
    run.end("FINISHED", ended)
    return run.run_id


def _begun(parent: MLflowRun, key: str) -> Any:
    """The MLflow run with this key, sent by another driver or partly sent before an outage; None if there is none."""
    query = f"tags.kind = '{RUN}' and tags.key = '{key}'"
    found = parent.client.search_runs([parent.experiment_id], query, order_by=["attributes.status ASC"])
    return next((run for run in found if run.info.status in ("FINISHED", "RUNNING")), None)


def _tags(parent: MLflowRun, study: str, run_spec: RunSpec) -> dict[str, str]:
    source = run_spec.trains.partition(" tested on " if run_spec.evaluates else " then ")[0] if run_spec.source else ""
    copies = [task for task in run_spec.tasks if task not in run_spec.targets]
    others = copies or [task for task in run_spec.tasks if len(run_spec.tasks) > 1]
    return {
        "kind": RUN,
        "mlflow.parentRunId": parent.run_id,
        "mlflow.source.name": "mtl",
        "study": study,
        "design": ", ".join(run_spec.designs),
        "target": ", ".join(run_spec.targets),
        "partner": source or ", ".join(others),
        "seed": str(run_spec.seed),
        "key": run_spec.key,
    }


def _params(run_spec: RunSpec, result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, with versions and device."""
    labels = ("key", "name", "trains", "designs", "seed")  # which are tags
    settings = {name: value for name, value in run_spec.to_dict().items() if name not in labels}
    return {**settings, "mixture": without_ids(run_spec.mixture), **result.get("versions", {})}


def _numbers(result: Mapping[str, Any], time: int) -> Iterator[Number]:
    """The metrics of a run: dev curves over target updates, test scores and costs."""
    points = [("val", point["updates"], point["dev"]) for point in result["curve"]]
    tests = ("test", dict.fromkeys(result["test"], 0), result["test"])
    for split, steps, by_target in (*points, tests):
        for target, scores in by_target.items():
            for name, value in scores.items():
                if value is not None:
                    yield Number(f"{split}/{target}/{name}", value, time, steps[target])
    for name, value in result["cost"].items():
        yield Number(f"cost/{name}", value, time, 0)

"""A search in MLflow: a parent run, a run for each trial nested in it, and the trainings nested in their trial.

The trials are first stored on disk. What MLflow lacks when a command ends is sent by the next command.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from mtl.tracking.mlflow_client import creation_lock, default_uri, find_experiment, open_store, prepare_mlflow
from mtl.tracking.mlflow_run import MLflowRun, Number, mlflow_table
from mtl.tracking.parent_run import ParentRun
from mtl.tuning.records import SearchRecord, TrialRecord

SEARCH, TRIAL = "tuning", "tuning_trial"
"""Values of the tag `kind` of parent runs and of the runs of trials."""

STATUS = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "running": "RUNNING"}


class TuningTracker(ParentRun):
    """Sends a search to MLflow. Problems with MLflow never stop the search.

    Args:
        name: Name of the search.
        folder: Folder of the search.
        experiment: Experiment of the parent and its runs.
        uri: Where MLflow is; None takes MLflow's own setting, else `mlflow.db` in the working folder.
    """

    def __init__(self, name: str, folder: Path, experiment: str, uri: str | None = None) -> None:
        prepare_mlflow()
        self._name, self._folder, self._experiment = name, folder, experiment
        kept = f"The complete search is in {folder}; the next `mtl tune` sends what MLflow lacks."
        super().__init__("tune", uri or default_uri(), kept)
        self._runs: dict[int, MLflowRun] = {}
        self._nested: set[str] = set()

    def begin(self, params: Mapping[str, Any]) -> None:
        """Queues the settings of the search, which is RUNNING from now on."""

        def send(parent: MLflowRun) -> None:
            parent.set_status("RUNNING")
            parent.log_params(params)

        self._put("settings", send)

    def begin_trial(self, number: int, values: Mapping[str, Any]) -> None:
        """Queues a run for a trial, with its values as parameters."""
        self._put(f"trial {number}", lambda parent: self._trial_run(parent, number).log_params(dict(values)))

    def nest(self, number: int, run_id: str) -> None:
        """Queues the nesting of a training below its trial."""
        if run_id in self._nested:
            return
        self._nested.add(run_id)

        def send(parent: MLflowRun) -> None:
            trial = self._trial_run(parent, number)
            parent.client.set_tag(run_id, "mlflow.parentRunId", trial.run_id)
            parent.client.set_tag(run_id, "tuning", self._name)

        self._put(f"trial {number}", send)

    def end_trial(self, trial: TrialRecord) -> None:
        """Queues the scores of a trial and its end."""
        now = int(time.time() * 1000)

        def send(parent: MLflowRun) -> None:
            run = self._trial_run(parent, trial.number)
            run.log_params(dict(trial.values))
            run.log_metrics(_numbers(trial, now))
            repeats = {} if trial.repeats is None else {"repeats": str(trial.repeats)}
            run.set_tags({"state": trial.state, **({"reason": trial.reason} if trial.reason else {}), **repeats})
            run.end(STATUS[trial.state])

        self._put(f"trial {trial.number}", send)

    def report(self, record: SearchRecord, note: str, files: Sequence[Path]) -> None:
        """Queues the trials that MLflow lacks, the report, and the end of the search.

        Args:
            record: The search.
            note: Its description, in Markdown.
            files: Files of the report, which become artifacts.
        """
        now = int(time.time() * 1000)
        numbers = [Number(f"trials/{state}", count, now, 0) for state, count in record.counts.items()]
        numbers += [Number(f"importance/{key}", share, now, 0) for key, share in record.importance.items()]
        best = record.best
        if best is not None and best.mean is not None:
            numbers.append(Number(f"best/{record.objective}", best.mean, now, 0))

        def send(parent: MLflowRun) -> None:
            self._send_missing(parent, record)
            parent.log_metrics(numbers)
            for file in files:
                parent.log_file(file)
            parent.log_table(mlflow_table(trial_columns(record)), "trials.json")
            parent.set_tags({"mlflow.note.content": note})
            parent.end("FINISHED" if best is not None else "FAILED")

        self._put("report", send)

    # --- details --------------------------------------------------------------------------------------------------

    def _connect(self) -> MLflowRun:
        """Finds the parent run, or creates it."""
        client = open_store(self._uri)
        with creation_lock(self._uri):
            experiment = find_experiment(client, self._experiment, self._uri)
            found = [run for run in self._search(client, experiment, SEARCH) if run.data.tags["tuning"] == self._name]
            tags = {"kind": SEARCH, "tuning": self._name, "mlflow.source.name": "mtl"}
            run = found[0] if found else client.create_run(experiment, run_name=self._name, tags=tags)
        self._parent = MLflowRun(client, run)
        self._runs.clear()
        return self._parent

    def _trial_run(self, parent: MLflowRun, number: int) -> MLflowRun:
        """Finds the run of a trial, or creates it."""
        if number not in self._runs:
            with FileLock(self._folder / "mlflow.lock"):  # two processes must not create it at once
                known = self._known(parent)
                run = known.get(number)
                if run is None:
                    tags = {"kind": TRIAL, "tuning": self._name, "trial": str(number), "mlflow.source.name": "mtl"}
                    tags["mlflow.parentRunId"] = parent.run_id
                    name = f"{self._name}-{number}"
                    run = parent.client.create_run(parent.experiment_id, run_name=name, tags=tags)
            self._runs[number] = MLflowRun(parent.client, run)
        return self._runs[number]

    def _known(self, parent: MLflowRun) -> dict[int, Any]:
        """The runs of trials in MLflow, by number."""
        runs = self._search(parent.client, parent.experiment_id, TRIAL, parent.run_id)
        return {int(run.data.tags["trial"]): run for run in runs}

    def _search(self, client: Any, experiment: str, kind: str, parent: str | None = None) -> list[Any]:
        query = f"tags.kind = '{kind}'"
        if parent is not None:
            query += f" and tags.\"mlflow.parentRunId\" = '{parent}'"
        found: list[Any] = []
        token = None
        while True:
            page = client.search_runs([experiment], query, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _send_missing(self, parent: MLflowRun, record: SearchRecord) -> None:
        """Sends the trials that ended while MLflow was unreachable, or whose process was killed."""
        known = self._known(parent)
        for trial in record.trials:
            run = known.get(trial.number)
            if trial.state != "running" and (run is None or run.data.tags.get("state") != trial.state):
                own = self._trial_run(parent, trial.number)
                own.log_params(dict(trial.values))
                own.log_metrics(_numbers(trial, int(time.time() * 1000)))
                own.set_tags({"state": trial.state})
                own.end(STATUS[trial.state])


def trial_columns(record: SearchRecord) -> dict[str, list[Any]]:
    """The trials as columns of a table."""
    keys = list(dict.fromkeys(key for trial in record.trials for key in trial.values))
    columns: dict[str, list[Any]] = {
        "trial": [trial.number for trial in record.trials],
        "state": [trial.state for trial in record.trials],
    }
    columns |= {key: [str(trial.values.get(key)) for trial in record.trials] for key in keys}
    columns |= {
        "mean": [trial.mean for trial in record.trials],
        "spread": [trial.spread for trial in record.trials],
    }
    columns |= {f"seed {seed}": [trial.scores.get(str(seed)) for trial in record.trials] for seed in record.seeds}
    columns["undertrained"] = [", ".join(trial.undertrained) for trial in record.trials]
    columns["repeats"] = [trial.repeats for trial in record.trials]
    columns["reason"] = [trial.reason for trial in record.trials]
    return columns


def _numbers(trial: TrialRecord, now: int) -> list[Number]:
    """The metrics of the run of a trial: mean and spread, and the objective over the index of the seed."""
    found = [] if trial.mean is None else [Number("objective/mean", trial.mean, now, 0)]
    found += [] if trial.spread is None else [Number("objective/spread", trial.spread, now, 0)]
    return found + [Number("objective/seed", value, now, int(seed)) for seed, value in trial.scores.items()]

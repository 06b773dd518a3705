"""Sends metrics, parameters, tags and files of one run to MLflow, within the limits of its requests."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtl.files import finite

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARAM_LENGTH = 6000  # MLflow 3 silently cuts longer values (mlflow.utils.validation.MAX_PARAM_VAL_LENGTH)
TAG_LENGTH = 8000  # limit of MLflow (mlflow.utils.validation.MAX_TAG_VAL_LENGTH)
METRICS_AT_ONCE = 500  # MLflow takes 1000 and 1 MB per request
PAIRS_AT_ONCE = 100  # limit of MLflow for parameters, and for tags


class Number(NamedTuple):
    """One value of a metric.

    Args:
        name: Name of the metric.
        value: Value, which may be infinite or NaN.
        time: Time of the measurement, in milliseconds since 1970. MLflow keeps a number only once if it is sent twice
            with the same time.
        step: Step of the value on the curve of the metric.
    """

    name: str
    value: float
    time: int
    step: int


class MLflowRun:
    """A run in MLflow. Each method returns once MLflow has received everything.

    Every method may be repeated after a failure, without creating duplicates.

    Args:
        client: Client of the store that has the run.
        run: The run, as the store returned it.
    """

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self.client = client
        self.run_id, self.experiment_id = str(run.info.run_id), str(run.info.experiment_id)
        self._params: dict[str, str] = dict(run.data.params)
        self.latest_steps: dict[str, int] = {one.key: int(one.step) for one in run.data.to_proto().metrics}
        """The latest step of each metric when the run was opened."""
        self.skips_sent = False
        """Whether points up to these steps are not sent again."""

    def log_metrics(self, numbers: Sequence[Number]) -> None:
        """Sends values of metrics."""
        from mlflow.entities import Metric

        if self.skips_sent:
            latest = self.latest_steps
            numbers = [one for one in numbers if one.step > latest.get(allowed_name(one.name), one.step - 1)]
        for chunk in chunks(numbers, METRICS_AT_ONCE):
            metrics = [Metric(allowed_name(one.name), one.value, one.time, one.step) for one in chunk]
            self.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def log_params(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Sends parameters that the run does not have yet; nested parameters get dotted names.

        A value that is too long for MLflow is stored as the artifact ``params/<name>.txt``.

        Returns:
            The parameters that the run has with a different value, which MLflow never changes.
        """
        from mlflow.entities import Param

        short = {allowed_name(name): self._shortened(allowed_name(name), v) for name, v in flattened(params)}
        new = [(name, value) for name, value in short.items() if name not in self._params]
        for chunk in chunks(new, PAIRS_AT_ONCE):
            self.client.log_batch(self.run_id, params=[Param(*pair) for pair in chunk], synchronous=True)
            self._params.update(chunk)
        return {name: value for name, value in short.items() if self._params[name] != value}

    def _shortened(self, name: str, value: str) -> str:
        if len(value) <= PARAM_LENGTH:
            return value
        path = f"params/{name}.txt"
        short = f"see artifact {path} ({len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()})"
        if self._params.get(name) != short:
            self.client.log_text(self.run_id, value, path)
        return short

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags, and replaces existing tags with the same names."""
        from mlflow.entities import RunTag

        for chunk in chunks(list(tags.items()), PAIRS_AT_ONCE):
            batch = [RunTag(allowed_name(name), value) for name, value in chunk]
            self.client.log_batch(self.run_id, tags=batch, synchronous=True)

    def log_file(self, file: Path, folder: str | None = None) -> None:
        """Stores a file as an artifact of the same name, optionally in a folder of the artifacts."""
        self.client.log_artifact(self.run_id, str(file), folder)

    def log_json(self, content: Mapping[str, Any], path: str) -> None:
        """Stores a mapping as an artifact whose path ends with .json."""
        self.client.log_dict(self.run_id, dict(content), path)

    def log_table(self, content: Mapping[str, Any], path: str) -> None:
        """Stores a result of `table` as a table that MLflow displays; `path` must end with .json."""
        self.log_json(content, path)
        # Like `MlflowClient.log_table`, which would append to the table of a resumed run.
        key = "mlflow.loggedArtifacts"
        tables = json.loads(self.client.get_run(self.run_id).data.tags.get(key, "[]"))
        entry = {"path": path, "type": "table"}
        listed = json.dumps([*tables, entry])
        # MLflow then does not offer the table in its view of tables; the file is among the artifacts all the same.
        if entry not in tables and len(listed) <= TAG_LENGTH:
            self.set_tags({key: listed})

    def log_dataset(self, record: Mapping[str, Any]) -> None:
        """Records a data set that the run reads: its name, split, fingerprint, number of rows and source."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=record["name"],
            digest=record["fingerprint"][:36],
            source_type="local",
            source=json.dumps({"uri": record["source"]}),
            profile=json.dumps({"rows": record["rows"], "fingerprint": record["fingerprint"]}),
        )
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", record["split"])])])

    def set_status(self, status: str) -> None:
        """Sets the status without ending the run."""
        self.client.update_run(self.run_id, status=status)

    def end(self, status: str, time: int | None = None) -> None:
        """Ends the run.

        Args:
            status: FINISHED, FAILED or KILLED.
            time: Time of the end, in milliseconds since 1970; None means now.
        """
        self.client.set_terminated(self.run_id, status, time)


def mlflow_table(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Returns columns of equal length as the JSON of an MLflow table; numbers that JSON cannot represent become null.

    >>> mlflow_table({"class": ["x", "y"], "f1": [0.5, float("nan")]})
    {'columns': ['class', 'f1'], 'data': [['x', 0.5], ['y', None]]}
    """
    return {"columns": list(columns), "data": finite(list(zip(*columns.values(), strict=True)))}


def allowed_name(name: str) -> str:
    """Returns a name that MLflow accepts: allowed characters, limited length, and a normalised path.

    >>> allowed_name("val/ddi/f1 (int|effect)")
    'val/ddi/f1 _int_effect_'
    """
    name = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).lstrip("./")
    if len(name) > 250:
        name = f"{name[:230]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name or "_"


def flattened(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields parameters as strings, with dotted names.

    >>> dict(flattened({"model": {"learning_rate": 0.1}, "tasks": ["gad", "hoc"]}))
    {'model.learning_rate': '0.1', 'tasks': '["gad", "hoc"]'}
    """
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, Mapping | list | tuple):
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False, default=str)
        else:
            yield f"{prefix}{key}", str(value)


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yields the items in chunks of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

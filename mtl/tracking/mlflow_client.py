"""MLflow's side of tracking: where it is, how it is opened, what it takes and what it refuses."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import posixpath
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAM_LENGTH = 6000  # MLflow 3 cuts longer values in silence (mlflow.utils.validation.MAX_PARAM_VAL_LENGTH)
Operation = Callable[["MlflowClient", str], None]
Number = tuple[str, float, int, int]
"""A metric's name, value, time in ms and step."""


def prepare_mlflow() -> None:
    """Loads MLflow in this thread, with a short patience and without its own voice; what the user set stays."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 by default: four minutes for one number
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # two bars for every run of a study
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing goes out that was not asked for
    import mlflow  # noqa: F401  # for what loading does

    # What MLflow does with its own libraries is not the user's business, even where warnings are errors.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mlflow\.")
    for name in ("mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells every retry


def default_uri() -> str:
    """Where MLflow was told it is, else `mlflow.db` in the working folder."""
    prepare_mlflow()
    from mlflow import tracking

    untyped: Any = tracking
    return tracking.get_tracking_uri() if untyped.is_tracking_uri_set() else f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def find_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """The experiment's id; it is made where it does not exist."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    database = _database(uri)  # MLflow's own default is the working folder, which need not be where the store is
    location = None if database is None else str(database.parent / "mlruns" / allowed_name(name).replace("/", "_"))
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was faster
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)


def creation_lock(uri: str) -> AbstractContextManager[Any]:
    """Keeps other processes from creating the same SQLite store, whose migration two at once would break."""
    database = _database(uri)
    if database is None:
        return nullcontext()
    from filelock import FileLock

    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database}.lock", timeout=120)


def _database(uri: str) -> Path | None:
    """The file behind an SQLite address."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(match[1]).absolute() if match and match[1] != ":memory:" else None


def is_shown_by_bare_ui(uri: str) -> bool:
    """`mlflow ui` reads ./mlflow.db, unless it is told otherwise or finds runs that older versions left in ./mlruns."""
    has_old_runs = any(Path("mlruns").glob("[0-9]*/meta.yaml"))
    is_default = _database(uri) == Path.cwd() / "mlflow.db"
    return is_default and not has_old_runs and "MLFLOW_BACKEND_STORE_URI" not in os.environ


def is_refusal(error: Exception) -> bool:
    """Whether trying again later can't help."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code in {
            "INVALID_PARAMETER_VALUE",
            "BAD_REQUEST",
            "MALFORMED_REQUEST",
            "RESOURCE_ALREADY_EXISTS",
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_STATE",
        }
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError | SQLAlchemyError)


def send_metrics(numbers: Sequence[Number]) -> Operation:
    """The operation that sends these numbers in one request."""

    def send(client: MlflowClient, run_id: str) -> None:
        from mlflow.entities import Metric

        client.log_batch(run_id, metrics=[Metric(*number) for number in numbers], synchronous=True)

    return send


def send_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Sets tags of a run."""
    from mlflow.entities import RunTag

    for chunk in chunks(list(tags.items()), 100):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in chunk], synchronous=True)


def send_dataset(client: MlflowClient, run_id: str, record: Mapping[str, Any]) -> None:
    """Names a data set as an input of a run, see `MLflowTracker.log_dataset`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=record["name"],
        digest=record["fingerprint"][:36],
        source_type="local",
        source=json.dumps({"uri": record["source"]}),
        profile=json.dumps({"rows": record["rows"], "fingerprint": record["fingerprint"]}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", record["split"])])])


def mark_as_table(client: MlflowClient, run_id: str, path: str) -> None:
    """What `MlflowClient.log_table` does after it wrote; itself it would append to the table of a resumed run."""
    key = "mlflow.loggedArtifacts"
    tables = json.loads(client.get_run(run_id).data.tags.get(key, "[]"))
    entry = {"path": path, "type": "table"}
    if entry not in tables:
        client.set_tag(run_id, key, json.dumps([*tables, entry]))


def allowed_name(name: str) -> str:
    """A name that MLflow takes: its signs, its length, and no path that could be shortened.

    >>> allowed_name("val/ddi/f1 (int|effect)")
    'val/ddi/f1 _int_effect_'
    """
    name = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).lstrip("./")
    if len(name) > 250:
        name = f"{name[:230]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name or "_"


def flattened(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Parameters by dotted names, as texts.

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


def chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def without_password(uri: str) -> str:
    """The address without user and password.

    >>> without_password("https://me:secret@host:5000/x")
    'https://host:5000/x'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def reason(error: Exception) -> str:
    """What an error says, in one line, without user and password of an address.

    >>> reason(OSError("no route to postgresql://me:secret@host/db"))
    'no route to postgresql://host/db'
    """
    return re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))[:200] or type(error).__name__


def ui_hint(uri: str, place: str = "") -> str:
    """The line that opens MLflow; on a server the address, with `place` behind it.

    >>> ui_hint("http://host:5000/", "/#/experiments/1"), ui_hint("postgresql://me:secret@host/db")
    ('http://host:5000/#/experiments/1', 'mlflow ui --backend-store-uri "postgresql://host/db"')
    """
    if urlsplit(uri).scheme in ("http", "https"):
        return without_password(uri).rstrip("/") + place
    return "mlflow ui" if is_shown_by_bare_ui(uri) else f'mlflow ui --backend-store-uri "{without_password(uri)}"'


class SystemMetrics:
    """Load of processors, memory, disk, network and GPU, as MLflow's own monitors read them.

    MLflow's thread for this asks the server at every sample and ends at its first silence, so it is not started.
    """

    def __init__(self, uri: str, run_id: str, started: int) -> None:
        from mlflow.system_metrics import system_metrics_monitor

        untyped: Any = system_metrics_monitor
        self._monitor = untyped.SystemMetricsMonitor(run_id, tracking_uri=uri)
        self._is_on = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() not in ("false", "0")
        self._started, self._last = started, -math.inf

    def sample(self, *, starting: bool, closing: bool) -> tuple[dict[str, float], int] | None:
        """The load by name, and the seconds since the run began as its step; None where none is due yet."""
        now = time.monotonic()
        if not self._is_on or not (starting or closing or now - self._last >= self._monitor.sampling_interval):
            return None
        self._last = now
        self._monitor.collect_metrics()
        metrics = {f"system/{name}": value for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        # The first reading of the processors covers no time, and only sets their clocks.
        return None if starting else (metrics, (int(time.time() * 1000) - self._started) // 1000)

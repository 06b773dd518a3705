"""Finds the address of MLflow and opens its store."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mtl.tracking.mlflow_run import allowed_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mtl.tracking.mlflow_run import MLflowRun


def prepare_mlflow() -> None:
    """Imports MLflow in this thread, with short timeouts and fewer log messages; keeps settings of the user."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # default 7: four minutes for one number
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault(
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"
    )  # otherwise two bars for every run of a study
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # opt-in only
    import mlflow  # noqa: F401  # for its side effects

    # Deprecations inside MLflow do not concern the user, even if warnings are errors.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mlflow\.")
    for name in ("mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it logs every retry


def default_uri() -> str:
    """Returns the address set for MLflow, or `mlflow.db` in the working folder."""
    prepare_mlflow()
    from mlflow import tracking

    untyped: Any = tracking
    if untyped.is_tracking_uri_set():
        return tracking.get_tracking_uri()
    return f"sqlite:///{quote(str(Path.cwd() / 'mlflow.db'))}"  # MLflow decodes it


class DeletedExperimentError(Exception):
    """The experiment was deleted, so MLflow accepts no runs for it."""


def find_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Returns the id of an experiment; a missing one is created.

    Raises:
        DeletedExperimentError: The experiment was deleted. MLflow keeps its name until it is deleted permanently.
    """
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is not None:
        if found.lifecycle_stage == "deleted":
            restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
            raise DeletedExperimentError(
                f"The experiment '{name}' was deleted. Restore it with `{restore}`, or name another one with"
                " --run.experiment or MLFLOW_EXPERIMENT_NAME."
            )
        return str(found.experiment_id)
    database = _database(uri)  # MLflow's default is the working folder, which may not be the folder of the store
    folder = None if database is None else database.parent / "mlruns" / allowed_name(name).replace("/", "_")
    location = None if folder is None else quote(str(folder))
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was faster
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return str(found.experiment_id)


def open_store(uri: str) -> MlflowClient:
    """Returns a client of the store; a missing store is created."""
    from mlflow import MlflowClient

    # two processes that create an SQLite store at once would break its migration
    with creation_lock(uri), _without_undecoded_folder(uri):
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def end_run(tracked: Mapping[str, Any], status: str) -> bool:
    """Sets the status of a run whose own process has ended.

    Args:
        tracked: What `run.json` has under `mlflow`: the id of the run, or the token and experiment with which a process
            began to create it, and the address of MLflow without its password.
        status: FAILED or KILLED.

    Returns:
        Whether nothing is left to do: MLflow has the status now, or no longer has the run. False if it does not answer.
    """
    prepare_mlflow()
    from mlflow.exceptions import MlflowException

    place, current = tracked["tracking_uri"], default_uri()
    uri = current if place == without_password(current) else place
    database = _database(uri)
    if database is not None and not database.is_file():  # it would be created
        return False
    try:
        client, run_id = open_store(uri), tracked.get("run_id")
        if run_id is None:
            experiment = client.get_experiment_by_name(tracked["experiment"])
            run = experiment and run_with_token(client, experiment.experiment_id, tracked["token"])
            if not run:
                return True  # it was not created
            run_id = run.info.run_id
        client.set_terminated(run_id, status)
    except MlflowException as error:
        return error.error_code in _WITHOUT_RUN
    except Exception:  # stores raise different errors; the status in the folder is set all the same
        return False
    return True


_WITHOUT_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""Codes of errors where a run is unknown, and where it has been deleted."""


def run_with_token(client: MlflowClient, experiment: str, token: str) -> Any:
    """Returns the run of an experiment that was created with this token; None if there is none.

    The token is recorded before the run is created. So a run is found although its process was killed, or the
    connection lost, before the id was recorded.
    """
    return next(iter(client.search_runs([experiment], f"tags.token = '{token}'", max_results=1)), None)


@contextmanager
def _without_undecoded_folder(uri: str) -> Iterator[None]:
    """Removes the empty folder that MLflow 3 makes for an SQLite address with encoded characters (%25, %3F)."""
    folder = Path(uri.removeprefix("sqlite:///")).parent
    is_extra = uri.startswith("sqlite:///") and unquote(uri) != uri and not folder.exists()
    yield
    if is_extra:
        with suppress(OSError):
            os.removedirs(folder)


def creation_lock(uri: str) -> AbstractContextManager[Any]:
    """Returns a lock that keeps other processes on this machine from creating the same entry in an SQLite store."""
    database = _database(uri)
    if database is None:
        return nullcontext()
    from filelock import FileLock

    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database}.lock", timeout=120)


def _database(uri: str) -> Path | None:
    """The file of an SQLite address; None for other addresses."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
    return Path(unquote(match[1])).absolute() if match and match[1] != ":memory:" else None


def is_shown_by_plain_ui(uri: str) -> bool:
    """Returns whether plain `mlflow ui` shows the store.

    It reads ./mlflow.db, unless a variable names another store or ./mlruns has runs of older versions.
    """
    has_old_runs = any(Path("mlruns").glob("[0-9]*/meta.yaml"))
    is_default = _database(uri) == Path.cwd() / "mlflow.db"
    return is_default and not has_old_runs and "MLFLOW_BACKEND_STORE_URI" not in os.environ


def without_password(uri: str) -> str:
    """Returns the address without user and password.

    >>> without_password("https://me:secret@host:5000/x")
    'https://host:5000/x'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def ui_hint(uri: str, run: MLflowRun | None = None) -> str:
    """Returns how to open MLflow, with the page of the run if it is known.

    MLflow 3 opens an experiment on its pages for generative AI, which show no scores, whatever the tags of the
    experiment say; only the address chooses the pages for model training.

    >>> ui_hint("http://host:5000/"), ui_hint("postgresql://me:secret@host/db")
    ('http://host:5000', 'mlflow ui --backend-store-uri "postgresql://host/db"')
    """
    page = "" if run is None else f"/#/experiments/{run.experiment_id}/runs/{run.run_id}?{MODEL_TRAINING}"
    if urlsplit(uri).scheme in ("http", "https"):
        return without_password(uri).rstrip("/") + page
    ui = "mlflow ui" if is_shown_by_plain_ui(uri) else f'mlflow ui --backend-store-uri "{without_password(uri)}"'
    return f"{ui}, then open {PLAIN_UI}{page}" if page else ui


PLAIN_UI = "http://127.0.0.1:5000"
"""Address of `mlflow ui` without options."""

MODEL_TRAINING = "workflowType=machine_learning"
"""Selects MLflow's pages for model training."""

"""A run behind MLflow's interface for models: a table of texts in, records of `mtl predict` out."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # imported here because MLflow reads the hints of `predict`
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, INVALID_STATE

from mtl.problems import InputError, Problem, did_you_mean
from mtl.serving.model_files import ARTIFACT, CHECKPOINT, check_checksums
from mtl.serving.request_problems import as_sentence, request_problems

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # of MLflow, about type hints of its own
    from mlflow.pyfunc.model import PythonModel, PythonModelContext

logging.getLogger("mlflow.models.signature").setLevel(logging.WARNING)  # it infers no schema, because ours is given


class ServedRun(PythonModel):
    """The best checkpoint of a run. All tasks of a request share one pass of the encoder where they can."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the run, after its files were compared with their checksums.

        Raises:
            MlflowException: A file of the model was changed, or the checkpoint cannot be read.
        """
        from mtl.log_filters import filter_logs
        from mtl.prediction.predictor import Predictor

        filter_logs()
        os.environ.setdefault("MLFLOW_DISABLE_SCHEMA_DETAILS", "true")  # otherwise MLflow's errors quote the texts
        folder, config = Path(context.artifacts[ARTIFACT]), context.model_config
        try:
            check_checksums(folder)
            for module in config["modules"]:
                importlib.import_module(module)
            self._predictor = Predictor(folder / CHECKPOINT)
            self._predictor.load()
        except InputError as error:
            raise MlflowException(str(error), INVALID_STATE) from error
        self._tasks, self._mentions = list(config["tasks"]), list(config["mentions"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The records of texts, in their order.

        Args:
            context: Not used.
            model_input: The columns `text` and optionally `text_pair`, `id`, `document` and `entities`.
            params: `tasks`, names of the tasks to predict; if it is empty, all that the model serves and that were
                trained on as many texts as a row has. `coverage`: adds sets of labels, see `Predictor.predict`.

        Raises:
            MlflowException: A text or a task is invalid (HTTP status 400); `problems` has the details.
        """
        try:
            rows = _checked_rows(model_input)
            tasks = self._checked_tasks((params or {}).get("tasks"), rows)
            coverage = (params or {}).get("coverage")
            return self._predictor.predict(rows, tasks=tasks, mentions=self._mentions, coverage=coverage)
        except InputError as error:
            problems = request_problems(error)
            raise MlflowException(as_sentence(problems), INVALID_PARAMETER_VALUE, problems=problems) from error

    def _checked_tasks(self, wanted: Any, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        names = [str(name) for name in ([] if wanted is None else wanted)]
        unknown = [name for name in names if name not in self._tasks]
        if unknown:
            raise InputError(
                [Problem("tasks", f"There is no task '{name}'.", did_you_mean(name, self._tasks)) for name in unknown]
            )
        if names:
            return names
        return self._predictor.fitting(self._tasks, 1 + any("text_pair" in row for row in rows)) or self._tasks


def _checked_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as objects of JSON lines, without empty cells.

    Raises:
        InputError: There is no text, or it is blank.
    """
    if "text" not in table.columns:
        # MLflow removes unknown columns, and with the last one the rows. Its own error would name no column.
        advice = 'Give each text under the key \'text\', such as {"dataframe_records": [{"text": "…"}]}.'
        raise InputError(Problem("text", "must be a column of the request.", advice))
    rows = [{key: _plain(value) for key, value in row.items() if _is_given(value)} for row in table.to_dict("records")]
    blank = [number for number, row in enumerate(rows, 1) if not str(row.get("text", "")).strip()]
    if blank:
        raise InputError(Problem("text", f"must not be empty, as in row {blank[0]} of {len(rows)}.", "Give a text."))
    return rows


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and value != value)  # noqa: PLR0124  # NaN


def _plain(value: Any) -> Any:
    """Lists in place of the arrays that MLflow makes of them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value

"""A run as an MLflow model: its files, what it predicts, what it refuses, and its place in MLflow."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.exceptions import MlflowException

from mtl import hashed_ids
from mtl.calibration.saved import FILE as CALIBRATION
from mtl.config.loading import load_mixture
from mtl.config.mixture import PrivacySpec
from mtl.prediction.predicting import predict
from mtl.problems import InputError
from mtl.serving.model_folder import (
    ServedModel,
    check_model_folder,
    is_model_folder,
    log_model,
    model_of_folder,
    write_model,
)
from mtl.tracking.checkpoint_file import checksum
from mtl.tracking.mlflow_client import open_store
from mtl.tracking.run_folder import RunFolder
from tests.serving.conftest import TEXT
from tests.trained_runs import saved_run

SINGLE = ("mentions", "links", "kind")


@pytest.fixture(scope="module")
def folder(served_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served_model") / "model"
    write_model(ServedModel(served_run, SINGLE), path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return mlflow.pyfunc.load_model(str(folder))


def test_a_folder_has_no_pickle_but_the_checkpoint(folder: Path) -> None:
    assert is_model_folder(folder)
    check_model_folder(folder)
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes == {"", ".py", ".txt", ".yaml", ".json", ".ckpt"}
    flavour = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
    assert flavour["loader_module"] == "mlflow.pyfunc.loaders.code_model"
    assert "python_model" not in flavour, "which would be a pickle"


def test_requirements_are_pinned(folder: Path) -> None:
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").split()
    assert {line.partition("==")[0] for line in lines} >= {"biomtl", "mlflow", "torch", "transformers"}
    assert all(line.count("==") == 1 and "+" not in line for line in lines)


def test_a_model_gives_the_records_of_predict(model: Any, served_run: Path, planted: None) -> None:
    rows = [{"text": TEXT, "id": "n1"}, {"text": "No fever", "id": None}]
    found = model.predict(pd.DataFrame(rows))
    given = [rows[0], {"text": "No fever"}]
    assert found == predict(served_run, given, tasks=SINGLE)
    assert found == json.loads(json.dumps(found))


def test_a_model_of_a_calibrated_run_gives_calibrated_probabilities(served_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(served_run, tmp_path / "run"))
    plain = predict(run, ["fever"], tasks=["kind"])
    checkpoint = RunFolder(run).resolve_checkpoint("best")
    tasks = {"kind": {"temperature": 0.1, "conformal": {"0.9": {"quantile": 1.0}}}}
    content = {"checkpoint": checkpoint.name, "checksum": checksum(checkpoint), "tasks": tasks}
    (run / CALIBRATION).write_text(json.dumps(content), encoding="utf-8")
    write_model(ServedModel(run, ["kind"]), tmp_path / "model")
    model, table = mlflow.pyfunc.load_model(str(tmp_path / "model")), pd.DataFrame([{"text": "fever"}])
    found = model.predict(table)
    assert found == predict(run, ["fever"], tasks=["kind"])
    assert found != plain
    (with_sets,) = model.predict(table, params={"coverage": 0.9})
    assert with_sets["predictions"]["kind"]["set"] == list(with_sets["predictions"]["kind"]["scores"])
    with pytest.raises(MlflowException) as caught:
        model.predict(table, params={"coverage": 0.85})
    assert [problem["key"] for problem in json.loads(caught.value.serialize_as_json())["problems"]] == ["coverage"]


def test_without_named_tasks_those_that_fit_the_rows_are_predicted(served_run: Path, tmp_path: Path) -> None:
    write_model(ServedModel(served_run), tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    for row, tasks in (({"text": "fever"}, set(SINGLE)), ({"text": "fever", "text_pair": "risk"}, {"agreement"})):
        (found,) = model.predict(pd.DataFrame([row]))
        assert found["predictions"].keys() == tasks


def test_given_entities_are_related(model: Any, served_run: Path, planted: None) -> None:
    entities = [
        {"id": "T1", "type": "Drug", "spans": [[0, 7]]},
        {"id": "T2", "type": "Event", "spans": [[12, 17]]},
    ]
    rows = [{"text": "Aspirin and fever", "entities": entities}]
    found = model.predict(pd.DataFrame(rows), params={"tasks": ["links"]})
    assert found == predict(served_run, rows, tasks=["links"])
    assert [entity["id"] for entity in found[0]["predictions"]["links"]["entities"]] == ["T1", "T2"]


@pytest.mark.parametrize(
    ("row", "tasks", "key"),
    [
        ({"text": ""}, [], "text"),
        ({"txt": "fever"}, [], "text"),
        ({"id": "n1"}, [], "text"),
        ({"text": " \n"}, ["kind"], "text"),
        ({"text": "fever"}, ["kindd"], "tasks"),
        ({"text": "fever"}, ["agreement"], "tasks"),  # a task of the run that is not served
        ({"text": "fever", "text_pair": "risk"}, ["kind"], "tasks.kind"),
    ],
)
def test_an_invalid_request_is_a_client_error_that_names_its_key(
    model: Any, row: dict[str, str], tasks: list[str], key: str
) -> None:
    with pytest.raises(MlflowException) as caught:
        model.predict(pd.DataFrame([row]), params={"tasks": tasks})
    assert caught.value.get_http_status_code() == 400
    problems = json.loads(caught.value.serialize_as_json())["problems"]
    assert [problem["key"] for problem in problems] == [key]
    assert not any("--" in problem["suggestion"] for problem in problems)


def test_loading_a_changed_model_names_the_file(served_run: Path, tmp_path: Path) -> None:
    write_model(ServedModel(served_run, ["kind"]), tmp_path / "model")
    config = tmp_path / "model" / "artifacts" / "run" / "encoder" / "config.json"
    config.write_text(config.read_text().replace("0.1", "0.2"))
    with pytest.raises(MlflowException, match=str(config)):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    code = tmp_path / "model" / "model_code.py"
    code.write_text(code.read_text() + "\n")
    with pytest.raises(InputError) as caught:
        check_model_folder(tmp_path / "model")
    assert {problem.key for problem in caught.value.problems} == {str(config), str(code)}


def test_modules_of_the_user_come_along(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded where the module is on no path: from the folder of the model, with its checksum."""
    library = tmp_path / "library"
    (library / "ward_heads").mkdir(parents=True)
    (library / "ward_heads" / "__init__.py").write_text("")
    source = "from heads.classification import Classification\n\n\nclass Ward(Classification):\n    pass\n"
    (library / "ward_heads" / "kinds.py").write_text(source)
    task = {"head": "ward_heads.kinds.Ward", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "x"}}
    fields = {"name": "m", "encoder": {"name": str(tiny_encoder("bert"))}, "tasks": {"kind": task}}
    with monkeypatch.context() as here:
        here.syspath_prepend(library)
        run = saved_run(tmp_path, load_mixture(fields))[0].path
        write_model(ServedModel(run, modules=["ward_heads.kinds", "heads.regression"]), tmp_path / "model")
    for name in ("ward_heads", "ward_heads.kinds"):
        sys.modules.pop(name)
    code = tmp_path / "model" / "code" / "ward_heads"
    assert {path.name for path in code.rglob("*.py")} == {"__init__.py", "kinds.py"}
    requirements = (tmp_path / "model" / "requirements.txt").read_text().splitlines()
    assert [line for line in requirements if line.startswith("biomtl")] == [f"biomtl=={version('biomtl')}"]
    monkeypatch.setattr(sys, "path", list(sys.path))
    (found,) = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pd.DataFrame([{"text": TEXT}]))
    assert found["predictions"]["kind"]["label"] in ("a", "b")
    model = model_of_folder(tmp_path / "model")
    assert (model.tasks, model.modules) == (["kind"], ["ward_heads.kinds", "heads.regression"])
    (code / "kinds.py").write_text(source + "# changed\n")
    with pytest.raises(InputError) as caught:
        check_model_folder(tmp_path / "model")
    assert [Path(problem.key).name for problem in caught.value.problems] == ["kinds.py"]
    for name in ("ward_heads", "ward_heads.kinds"):
        sys.modules.pop(name)


def test_a_run_without_a_checkpoint_and_an_invalid_task_or_folder_are_refused(
    served_run: Path, folder: Path, tmp_path: Path
) -> None:
    def keys(model: ServedModel, target: Path) -> list[str]:
        with pytest.raises(InputError) as caught:
            write_model(model, target)
        return [problem.key for problem in caught.value.problems]

    assert keys(ServedModel(served_run), folder) == ["--to"]
    assert keys(ServedModel(served_run, ["kindd"]), tmp_path / "a") == ["--task"]
    assert keys(ServedModel(served_run, mentions=["links=kind"]), tmp_path / "a") == ["--mentions"]
    empty = RunFolder.create(tmp_path / "runs", "empty", 0)
    assert len(keys(ServedModel(empty.path), tmp_path / "a")) == 1
    assert not (tmp_path / "a").exists()


def test_a_model_of_private_data_or_with_ids_that_are_hashed_goes_to_no_server(
    served_run: Path, tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashed_ids._Process, "key", None)  # reading the mixture sets it
    monkeypatch.setenv(hashed_ids.KEY_VARIABLE, str(tmp_path / "key"))
    private = Path(shutil.copytree(served_run, tmp_path / "run"))
    fields = yaml.safe_load((private / "mixture.yaml").read_text(encoding="utf-8"))
    fields["tasks"]["kind"]["data"]["private"] = True  # marked after the training
    (private / "mixture.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    data = {"reader": "jsonl", "path": "rows", "exclude": ["note-1"]}
    kind = {"head": "classification", "labels": ["yes", "no"], "data": data}
    mixture = load_mixture({"name": "m", "encoder": {"name": str(tiny_encoder("bert"))}, "tasks": {"kind": kind}})
    mixture = mixture.model_copy(update={"privacy": PrivacySpec(hash_ids=True)})
    hashed = saved_run(tmp_path / "runs", mixture)[0].path
    servers = (
        "http://127.0.0.1:1",
        "databricks",
        "databricks-uc",
        "databricks://profile",
        "postgresql://user@host/runs",
    )
    for server in servers:
        for run, key in ((private, "tasks.kind.data.private"), (hashed, "privacy.hash_ids")):
            RunFolder(run).update_info(mlflow={"run_id": "1", "tracking_uri": server})
            with pytest.raises(InputError) as caught:
                log_model(ServedModel(run, ["kind"]))
            assert [problem.key for problem in caught.value.problems] == [key]


@pytest.mark.parametrize("elsewhere", ["artifacts", "registry"])
def test_a_model_of_private_data_stays_here_although_only_its_files_or_its_version_would_leave(
    elsewhere: str, served_run: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(served_run, tmp_path / "run"))
    fields = yaml.safe_load((run / "mixture.yaml").read_text(encoding="utf-8"))
    fields["tasks"]["kind"]["data"]["private"] = True
    (run / "mixture.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    place = "s3://bucket/models" if elsewhere == "artifacts" else str(tmp_path / "artifacts")
    client = open_store(store)
    run_id = client.create_run(client.create_experiment("x", artifact_location=place)).info.run_id
    RunFolder(run).update_info(mlflow={"run_id": run_id, "tracking_uri": store})
    if elsewhere == "registry":
        monkeypatch.setattr(mlflow, "get_registry_uri", lambda: "databricks-uc")
    with pytest.raises(InputError) as caught:
        log_model(ServedModel(run, ["kind"]), "notes")
    assert [problem.key for problem in caught.value.problems] == ["tasks.kind.data.private"]


def test_a_model_is_logged_with_its_run_and_registered_on_request(
    served_run: Path, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: None
) -> None:
    monkeypatch.setattr(mlflow, "set_tracking_uri", lambda uri: monkeypatch.setenv("MLFLOW_TRACKING_URI", uri))
    client = open_store(store)
    experiment = client.create_experiment("x", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    client.set_terminated(run_id)
    folder = RunFolder(served_run)
    with pytest.raises(InputError) as caught:
        log_model(ServedModel(served_run, ["kind"]))
    assert [problem.key for problem in caught.value.problems] == ["--log"]
    before = folder.info
    try:
        folder.update_info(mlflow={"run_id": run_id, "tracking_uri": store})
        first = log_model(ServedModel(served_run, ["kind"]))
        assert client.search_registered_models() == []
        assert log_model(ServedModel(served_run, ["kind"]), "notes") == "models:/notes/1"
    finally:
        folder.write_json("run.json", before)
    assert client.get_model_version("notes", "1").run_id == run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    for address in (first, "models:/notes/1"):
        found = mlflow.pyfunc.load_model(address).predict(pd.DataFrame([{"text": "fever"}]))
        assert set(found[0]["predictions"]) == {"kind"}

"""Writes a run as an MLflow model: a folder with its checkpoint, a code file, a signature and pinned requirements.

    MLmodel  model_code.py  requirements.txt  conda.yaml  python_env.yaml
    artifacts/run/
        checkpoints/best.ckpt       the checkpoint
        calibration.json            of `mtl calibrate`, if the checkpoint is calibrated
        encoder/                    configuration and tokenizer of the encoder
        checksums.json              SHA-256 of these files and of all code
    code/                           modules of the user that belong to no installed package

Nothing is pickled but the checkpoint, which is read with `weights_only=True`. Loading such a folder with MLflow runs
its code file, so a model folder is code.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from mtl.calibration.saved import FILE as CALIBRATION
from mtl.export.hub import privacy_problems
from mtl.files import require_empty, whole_folder
from mtl.prediction.predictor import Predictor, task_names
from mtl.prediction.trained_model import checkpoint_of
from mtl.problems import InputError, Problem
from mtl.serving.model_files import ARTIFACT, CHECKPOINT, check_checksums, write_checksums
from mtl.tracking.mlflow_client import default_uri, open_store, prepare_mlflow, without_password
from mtl.tracking.run_folder import RunFolder
from mtl.training.checkpoints import checkpoint_mixture

REQUIRED = ("biomtl", "torch", "pytorch-lightning", "torchmetrics", "transformers", "tokenizers", "numpy", "pandas")
"""Packages that decide predictions, and the one that brings the others."""


_REMOTE_NAMES = ("databricks", "databricks-uc", "uc")
"""Addresses of MLflow that look like paths, and are servers."""


@dataclass(frozen=True)
class ServedModel:
    """What is served.

    Args:
        run: Folder of a run, whose best checkpoint is taken, or a checkpoint in it.
        tasks: Names of the tasks; None serves all that predict something.
        mentions: Entity tasks that find the mentions of a task, each ``NAME=TASK[,TASK…]``.
        modules: Modules with classes that the checkpoint names; they are imported when the model is loaded. Those of
            an installed package become a requirement, others are copied with the package that they are in.
    """

    run: str | Path
    tasks: Sequence[str] | None = None
    mentions: Sequence[str] = ()
    modules: Sequence[str] = ()


def write_model(model: ServedModel, folder: Path) -> None:
    """Writes a model.

    Args:
        model: The model.
        folder: The folder to write. It must not exist, or be empty.

    Raises:
        InputError: There is no such run, checkpoint or task, or the folder has content or is not writable.
    """
    require_empty(folder)
    with _options(model) as options, whole_folder(folder) as part, _quiet_pyfunc() as pyfunc:
        pyfunc.save_model(part, **options)


def log_model(model: ServedModel, name: str | None = None) -> str:
    """Logs a model with its run in MLflow.

    Args:
        model: The model.
        name: Name of a registered model, of which it becomes a new version; None registers nothing.

    Returns:
        The address of the model in MLflow, such as ``models:/notes/3``.

    Raises:
        InputError: There is no such run, checkpoint or task, the run is not in MLflow, or MLflow is a server and the
            model must stay here: its data is private, or its checkpoint has ids of documents that are to be hashed.
    """
    tracked = RunFolder.open(model.run).info.get("mlflow", {})
    if "run_id" not in tracked:
        message = "The run is not in MLflow, so that no model can be logged with it."
        raise InputError(Problem("--log", message, "Write a folder with --to, or train with --run.track true."))
    prepare_mlflow()
    place, current = tracked["tracking_uri"], default_uri()
    uri = current if place == without_password(current) else place
    problems = [*privacy_problems(model.run), *_id_problems(model.run)]
    if problems and not _stays_here(uri, tracked["run_id"], registers=name is not None):
        raise InputError(problems)
    with _options(model) as options, _quiet_pyfunc() as pyfunc:
        import mlflow
        from mlflow.models import Model

        mlflow.set_tracking_uri(uri)
        given: dict[str, Any] = {"name": "model", "run_id": tracked["run_id"], "registered_model_name": name, **options}
        info = Model.log(artifact_path=None, flavor=pyfunc, **given)
    found = info.registered_model_version
    return str(info.model_uri) if found is None else f"models:/{name}/{found}"


def _stays_here(uri: str, run_id: str, *, registers: bool) -> bool:
    """Whether the files of a model that is logged, or registered, are written to this machine."""
    import mlflow

    places = [uri]
    if _is_local(uri):  # a local database may have its files elsewhere
        places.append(open_store(uri).get_run(run_id).info.artifact_uri)
        registry = mlflow.get_registry_uri()
        places += [registry] if registers and registry != mlflow.get_tracking_uri() else []
    return all(map(_is_local, places))


def _is_local(uri: str) -> bool:
    """Whether an address of MLflow is a place on this machine, and no server or shared database."""
    return uri not in _REMOTE_NAMES and urlsplit(uri).scheme in ("", "file", "sqlite")


def _id_problems(run: str | Path) -> Iterator[Problem]:
    """Ids in the checkpoint of a run that leave its folder only as hashes."""
    mixture = checkpoint_mixture(checkpoint_of(run))
    if mixture.privacy.hash_ids and any(spec.data.exclude for spec in mixture.tasks.values()):
        message = "The checkpoint names the documents that were left out of train, and ids are to be hashed."
        yield Problem("privacy.hash_ids", message, "Keep the model on this machine; --to writes it to a folder.")


def is_model_folder(path: Path) -> bool:
    """Whether a path is a folder that `write_model` wrote."""
    return (path / "MLmodel").is_file() and (path / "artifacts" / ARTIFACT).is_dir()


def model_of_folder(path: Path) -> ServedModel:
    """What the folder of a model serves.

    Args:
        path: A folder that `write_model` wrote.
    """
    flavours = yaml.safe_load((path / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    return ServedModel(path / "artifacts" / ARTIFACT / CHECKPOINT, **flavours["python_function"]["config"])


def check_model_folder(path: Path) -> None:
    """Checks that the files of a model are unchanged.

    Raises:
        InputError: Files were changed; the error names them.
    """
    check_checksums(path / "artifacts" / ARTIFACT)


@contextmanager
def _options(model: ServedModel) -> Iterator[dict[str, Any]]:
    """The arguments with which MLflow saves a model, while the files that they name exist."""
    prepare_mlflow()
    predictor = Predictor(model.run)
    names = task_names(predictor.mixture, model.tasks)
    predictor.job(predictor.open([], names), names, model.mentions)  # checks the choices of mentions
    code = Path(__file__).with_name("model_code.py")
    brought = _brought(model.modules)
    with TemporaryDirectory() as place:
        folder = Path(place, ARTIFACT)
        (folder / CHECKPOINT).parent.mkdir(parents=True)
        shutil.copyfile(predictor.model.checkpoint, folder / CHECKPOINT)
        run = predictor.model.checkpoint.absolute().parent.parent
        if (run / "encoder").is_dir():
            shutil.copytree(run / "encoder", folder / "encoder")
        if (run / CALIBRATION).is_file():
            shutil.copyfile(run / CALIBRATION, folder / CALIBRATION)
        write_checksums(folder, {f"../../{code.name}": code, **brought.files("../../code")})
        yield {
            "python_model": str(code),
            "artifacts": {ARTIFACT: str(folder)},
            "signature": _signature(),
            "pip_requirements": [
                f"{name}=={version(name).partition('+')[0]}" for name in dict.fromkeys([*REQUIRED, *brought.packages])
            ],
            **({"code_paths": [str(path) for path in brought.paths]} if brought.paths else {}),
            "model_config": {"tasks": names, "mentions": list(model.mentions), "modules": list(model.modules)},
            "metadata": {"mixture": predictor.mixture.name, "checkpoint": predictor.model.checkpoint.name},
        }


class _Brought(NamedTuple):
    """What modules of the user bring: installed packages, and files or folders of code that are in none."""

    packages: list[str]
    paths: list[Path]

    def files(self, place: str) -> dict[str, Path]:
        """The files of code by where they will lie below `place`."""
        found = {}
        for path in self.paths:
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    found[f"{place}/{file.relative_to(path.parent).as_posix()}"] = file
        return found


def _brought(modules: Sequence[str]) -> _Brought:
    packages: list[str] = []
    paths: list[Path] = []
    installed = packages_distributions()
    for name in dict.fromkeys(module.partition(".")[0] for module in modules):
        if name in installed:
            packages += installed[name]
            continue
        importlib.import_module(name)
        module = sys.modules[name]
        paths.append(Path(module.__path__[0]) if hasattr(module, "__path__") else Path(str(module.__file__)))
    return _Brought(packages, paths)


@contextmanager
def _quiet_pyfunc() -> Iterator[Any]:
    """MLflow's module for models in Python, without its advice on type hints and examples, which nobody can follow."""
    logger = logging.getLogger("mlflow.models.signature")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            import mlflow.pyfunc

            yield mlflow.pyfunc
    finally:
        logger.setLevel(level)


def _signature() -> Any:
    from mlflow import models, types
    from mlflow.types import schema

    untyped: Any = schema
    text = types.DataType.string
    # All optional, so that `ServedRun` says which one is missing.
    inputs: list[Any] = [types.ColSpec(text, name, required=False) for name in ("text", "text_pair", "id", "document")]
    inputs += [types.ColSpec(untyped.AnyType(), "entities", required=False)]
    found: list[Any] = [types.ColSpec(text, "id"), types.ColSpec(text, "document")]
    found += [types.ColSpec(untyped.Map(untyped.AnyType()), "predictions")]
    params = types.ParamSchema(
        [
            types.ParamSpec("tasks", text, [], shape=(-1,)),
            types.ParamSpec("coverage", types.DataType.double, None),
        ]
    )
    return models.ModelSignature(inputs=types.Schema(inputs), outputs=types.Schema(found), params=params)

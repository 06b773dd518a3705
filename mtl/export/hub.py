"""Writes an exported folder to the Hugging Face hub, unless the run was trained on private data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mtl.config.yaml_files import read_yaml
from mtl.encoder.trained_run import is_trained
from mtl.prediction.trained_model import checkpoint_of
from mtl.problems import InputError, Problem
from mtl.tracking.run_folder import RunFolder, is_private_folder
from mtl.training.checkpoints import checkpoint_mixture

_ADVICE = "Keep the model on this machine."

_REPOSITORY = re.compile(r"\w+([.-]\w+)*/\w+([.-]\w+)*")


def require_public(run: str | Path, repository: str) -> None:
    """Checks that a model of a run may be written to the hub, before anything is exported.

    Args:
        run: Folder of a run, or a checkpoint in it.
        repository: OWNER/NAME on the hub.

    Raises:
        InputError: There is no such run, the name is not one of the hub, data of the run is private, or it started
            from a run that is no longer there, so that nobody knows.
    """
    problems = list(dict.fromkeys(privacy_problems(run)))
    if not _REPOSITORY.fullmatch(repository):
        message = f"must be OWNER/NAME on the hub, got '{repository}'."
        problems.append(Problem("--repo", message, "Such as --repo my-group/my-model."))
    if problems:
        raise InputError(problems)


def push(folder: str | Path, repository: str) -> str:
    """Writes all files of a folder to a repository of the hub, which is made if needed: private, for its owner to open.

    Args:
        folder: The folder.
        repository: OWNER/NAME on the hub.

    Returns:
        The address of the repository.

    Raises:
        InputError: The hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi, errors

    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]  # of httpx or httpx2, by version
    api = HfApi()
    try:
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Model exported by biomtl")
    except (OSError, ValueError, http_error) as error:
        status = f", status {error.response.status_code}" if isinstance(error, errors.HfHubHTTPError) else ""
        message = f"'{repository}' could not be written ({type(error).__name__}{status}); the folder is complete."
        advice = "Log in with `hf auth login`, check the name and HF_HUB_OFFLINE, and write it with `hf upload`."
        raise InputError(Problem("--repo", message, advice)) from error
    return str(address)


def privacy_problems(run: str | Path) -> Iterator[Problem]:
    """The tasks with private data, of a run and of those that it started from, as problems of letting it leave.

    Args:
        run: Folder of a run, or a checkpoint in it.
    """
    found = [*_named_problems(run)]
    yield from found
    if not found and is_private_folder(RunFolder(checkpoint_of(run).parent.parent).encoder):
        yield Problem("encoder.name", "The encoder was trained on private data before this run.", _ADVICE)


def _named_problems(run: str | Path) -> Iterator[Problem]:
    checkpoint = checkpoint_of(run)
    mixture, file = checkpoint_mixture(checkpoint), checkpoint.parent.parent / "mixture.yaml"
    # Data may also be marked after the training, in the file of the run.
    tasks = read_yaml(file).get("tasks", {}) if file.is_file() else {}
    for name, spec in mixture.tasks.items():
        if spec.data.private or tasks.get(name, {}).get("data", {}).get("private"):
            message = f"The data of the task '{name}' of '{mixture.name}' is private."
            yield Problem(f"tasks.{name}.data.private", message, _ADVICE)
    source = mixture.encoder.name if mixture.init is None else mixture.init.run
    if mixture.init is None and not is_trained(Path(source)):
        return
    try:
        yield from privacy_problems(source)
    except InputError:
        message = "The run started from another one that cannot be read, so its data may be private."
        yield Problem("init.run", message, _ADVICE)

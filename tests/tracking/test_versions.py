"""Packages, threads and the commit of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mtl.tracking import versions
from tests.tracking.trackers import client, tracker_for

pytestmark = pytest.mark.usefixtures("bare_environment")


def test_versions_threads_and_the_commit_are_parameters(store: str, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    tracker = tracker_for()
    clean = tracker.log_versions()
    tracker.finalize("success")
    (tmp_path / "file").write_text("2")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    run = client(store).get_run(tracker.run_id)
    import torch

    assert torch.__version__.startswith(run.data.params["version.torch"])
    assert run.data.params["machine.threads"] == str(torch.get_num_threads())
    assert run.data.params["git.commit"] == run.data.tags["mlflow.source.git.commit"] == commit
    assert (clean["git.dirty"], versions.versions()["git.dirty"]) == ("false", "true")
    (tmp_path / "file").write_text("1")
    (tmp_path / "mlflow.txt").write_text("what a run leaves is no code")
    assert versions.versions()["git.dirty"] == "false"
    (tmp_path / "new_head.py").write_text("")
    assert versions.versions()["git.dirty"] == "true"

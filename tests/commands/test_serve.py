"""`mtl serve`: its options and what they refuse. The servers have tests of their own in tests/serving."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.commands import run as run_mtl
from mtl.commands.serve import _parser
from mtl.config.loading import load_mixture
from mtl.serving.model_folder import is_model_folder, model_of_folder
from mtl.serving.page_server import open_page
from tests.conftest import REPOSITORY
from tests.mlflow_server import free_port
from tests.trained_runs import saved_run


@pytest.fixture
def run(tmp_path: Path, tiny_encoder: Callable[[str], Path]) -> Path:
    task = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "x"}}
    encoder = {"name": str(tiny_encoder("bert"))}
    return saved_run(tmp_path, load_mixture({"name": "m", "encoder": encoder, "tasks": {"kind": task}}))[0].path


def refused(capsys: Any, *words: str) -> set[str]:
    """The keys of the problems of a command that is refused."""
    assert run_mtl(["serve", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    return {line.split(": ")[1] for line in lines if line.count(": ") > 1}


def test_every_option_is_on_the_page() -> None:
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    table = page.partition("| `RUN` |")[2].partition("\n\n")[0]
    known = {option for action in _parser()._actions for option in action.option_strings} - {"-h", "--help"}
    assert set(re.findall(r"--[a-z]+", re.sub(r"\|[^|]*\|$", "", table, flags=re.MULTILINE))) | {"--to"} == known


def test_a_port_in_use_is_refused_before_the_run_is_read(capsys: Any) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = str(server.getsockname()[1])
        assert refused(capsys, "no such run", "--port", port) == {"--port"}
        assert refused(capsys, "no such run", "--port", port, "--page") == {"--port"}


def test_invalid_options_are_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    port = ["--port", str(free_port())]
    assert refused(capsys, str(tmp_path / "no"), *port) == {str(tmp_path / "no")}
    assert refused(capsys, str(run), *port, "--task", "kindd") == {"--task"}
    assert refused(capsys, str(run), *port, "--page", "--host", "0.0.0.0") == {"--host"}
    assert refused(capsys, str(run), "--log") == {"--log"}
    assert refused(capsys, str(run), "--to", str(run)) == {"--to"}


def test_a_written_model_is_served_as_it_is_and_refused_after_a_change(run: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "model"
    assert run_mtl(["serve", str(run), "--to", str(folder)]) == 0
    assert is_model_folder(folder)
    port = ["--port", str(free_port())]
    assert refused(capsys, str(folder), *port, "--task", "kind") == {"--task"}
    for option in (["--to", str(tmp_path / "other")], ["--log"], ["--register", "notes"]):
        assert refused(capsys, str(folder), *option) == {"--to"}
    with socket.socket() as server:  # a page of the folder gets as far as its port
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert refused(capsys, str(folder), "--page", "--port", str(server.getsockname()[1])) == {"--port"}
    assert model_of_folder(folder).tasks == ["kind"]
    with open_page(model_of_folder(folder).run, "127.0.0.1", 0) as page:
        assert page.server_port
    checkpoint = folder / "artifacts" / "run" / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    assert refused(capsys, str(folder), *port) == {str(checkpoint)}

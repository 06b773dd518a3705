from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl import commands as cli

ROWS = [{"text": f"aspirin increases risk {n}", "label": ["low", "high"][n % 2]} for n in range(4)]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "mtl"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, **environment}
    )


def modules_after(statement: str) -> set[str]:
    """The top-level modules that are loaded after a statement in a fresh process."""
    script = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("statement", ["import mtl", "from mtl.commands import main; main(['--help'])"])
def test_help_loads_no_heavy_library(statement: str) -> None:
    loaded = modules_after(statement)
    assert "mtl" in loaded
    assert not loaded & {"torch", "transformers", "pytorch_lightning", "mlflow", "datasets", "pandas", "numpy", "rich"}


NEEDED_TO_TRAIN = {"pytorch_lightning", "lightning_fabric", "torchmetrics", "mlflow", "sklearn", "scipy", "matplotlib"}


def test_check_starts_without_the_libraries_that_only_training_needs(toy_mixture: Callable[..., Path]) -> None:
    loaded = modules_after(f"from mtl.commands import main; main(['check', {str(toy_mixture())!r}])")
    assert {"torch", "transformers"} <= loaded  # it read and encoded the rows
    assert not loaded & {*NEEDED_TO_TRAIN, "sympy"}  # sympy stands for PyTorch's compiler


def test_the_cache_is_shown_without_heavy_libraries() -> None:
    loaded = modules_after("from mtl.commands import main; main(['cache'])")
    assert "mtl" in loaded
    assert not loaded & {*NEEDED_TO_TRAIN, "torch", "transformers", "datasets", "numpy"}


@pytest.mark.parametrize("module", ["mtl.commands.fit", "mtl.commands.check"])
def test_the_file_of_a_command_is_not_a_command(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "python -m mtl COMMAND" in done.stderr
    other = subprocess.run([sys.executable, "-m", "mtl", "--help"], capture_output=True, text=True, check=False)
    assert (other.returncode, other.stderr) == (0, "")


def test_help_lists_every_command_and_exits_with_0() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.split("commands:")[1].splitlines() if line.startswith("  ")]
    assert listed == list(cli.COMMANDS)
    assert {"check", "fit", "validate", "test", "predict", "errors"} <= set(listed)


def test_without_a_command_the_help_is_shown_and_the_code_is_2() -> None:
    done = run()
    assert (done.returncode, done.stdout.startswith("usage: mtl COMMAND")) == (2, True)


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"biomtl {version('biomtl')}\n"


def test_an_unknown_command_is_an_error_with_the_nearest_name() -> None:
    done = run("chekc")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'chekc'" in done.stderr
    assert "'check'?" in done.stderr
    assert all(command in done.stderr for command in cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_names_a_module_with_a_main(command: str) -> None:
    import importlib

    assert callable(importlib.import_module(cli.COMMANDS[command][0]).main)


def run_broken(folder: Path, error: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that raises an error, in a new process."""
    (folder / "broken.py").write_text(f"from mtl.problems import *\ndef main(arguments): raise {error}\n")
    script = "from mtl import commands; commands.COMMANDS['broken'] = ('broken', ''); commands.main(['broken'])"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, cwd=folder
    )


def test_problems_of_the_input_exit_with_2_and_one_line_each_and_no_traceback(tmp_path: Path) -> None:
    done = run_broken(
        tmp_path, "InputError([Problem('seed', 'It is odd.', 'Fix it.'), Problem('name', 'It is long.')])"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mtl: seed: It is odd. Fix it.\nmtl: name: It is long.\n"


@pytest.mark.parametrize("error", ["RuntimeError('ours')", "ValueError('ours')", "AssertionError('ours')"])
def test_other_errors_exit_with_1_and_a_traceback(tmp_path: Path, error: str) -> None:
    done = run_broken(tmp_path, error)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{error.partition('(')[0]}: ")
    assert "ours" not in last  # the message of code that is not ours may quote a row


@pytest.mark.parametrize("script", ["raise KeyboardInterrupt", "def main(arguments): raise KeyboardInterrupt"])
def test_an_interrupt_exits_with_1_and_one_line(script: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(script)
    words = [
        sys.executable,
        "-c",
        "from mtl import commands; commands.COMMANDS['x'] = ('broken', ''); commands.main(['x'])",
    ]
    here = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=here, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "mtl: Interrupted.\n")


def test_a_command_gets_its_arguments_and_sets_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import mtl.commands.check

    seen: list[Any] = []
    monkeypatch.setattr(mtl.commands.check, "main", lambda arguments: seen.append(list(arguments)) or 2)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", "m.yaml", "a=b"])
    assert (stopped.value.code, seen) == (2, [["check", "m.yaml", "a=b"]])


# --- mtl check ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixture(tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    for split in ("train", "dev"):
        path = tmp_path / "risk" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "m.yaml").write_text(
        f"name: small\nencoder: {{name: {tiny_encoder('bert')}, max_length: 32}}\ntasks:\n  risk:\n"
        "    head: classification\n    data: {reader: jsonl, path: risk}\n    labels: [low, high]\n"
    )
    return tmp_path / "m.yaml"


@pytest.mark.slow
def test_check_prints_the_plan_and_exits_with_0(mixture: Path) -> None:
    done = run("check", str(mixture), "batch_size=2", "--epochs", "3")
    assert done.returncode == 0, done.stderr
    assert "sampler proportional, " in done.stdout
    assert "6 steps in 3 epochs, select by mean" in done.stdout
    assert "low 2, high 2" in done.stdout
    assert "risk: no test split" in done.stdout


@pytest.mark.slow
def test_check_prints_every_problem_and_exits_with_2(mixture: Path) -> None:
    lines = (mixture.parent / "risk" / "train.jsonl").read_text()
    (mixture.parent / "risk" / "train.jsonl").write_text(lines + '{"text": "SECRET NAME", "label": NaN}\n')
    done = run("check", str(mixture), "sampler.name=unifrom", "encoder.name=/no/such/folder")
    assert done.returncode == 2
    assert f"{mixture}: 3 problems" in done.stdout
    assert "sampler.name: There is no sampler 'unifrom'. Did you mean 'uniform'?" in done.stdout
    assert "encoder.name: '/no/such/folder'" in done.stdout
    assert f"{mixture.parent / 'risk' / 'train.jsonl'}:5: " in done.stdout
    assert "Traceback" not in done.stderr
    assert "SECRET" not in done.stdout + done.stderr


def test_check_prints_the_plan_or_the_errors_as_json(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", str(mixture), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"file", "ok", "errors", "plan"}
    assert (report["file"], report["ok"], report["errors"]) == (str(mixture), True, [])
    train = report["plan"]["tasks"]["risk"]["splits"]["train"]
    assert (train["read"], train["used"], train["labels"]) == (4, 4, {"low": 2, "high": 2})
    assert cli.run(["check", str(mixture), "tasks.risk.head=clasification", "seed=x", "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["plan"]) == (False, {})
    assert [set(error) for error in report["errors"]] == [{"key", "message", "suggestion"}] * 2
    assert [error["key"] for error in report["errors"]] == ["seed", "tasks.risk.head"]


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--json"]])
def test_a_reader_that_stops_reading_causes_no_traceback(arguments: list[str], mixture: Path) -> None:
    command = [str(Path(sys.executable).parent / "mtl"), *arguments, str(mixture)]
    read, write = os.pipe()
    os.close(read)  # before the command starts, so that its first write fails
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_check_prints_several_files_as_one_object(mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = mixture.with_name("other.yaml")
    other.write_text(mixture.read_text().replace("classification", "clasification"))
    assert cli.run(["check", str(mixture), str(other), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (set(found), found["ok"]) == ({"ok", "files"}, False)
    assert [(one["file"], one["ok"]) for one in found["files"]] == [(str(mixture), True), (str(other), False)]
    assert all(set(one) == {"file", "ok", "errors", "plan"} for one in found["files"])
    assert cli.run(["check", str(mixture), str(mixture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_an_argument_that_is_neither_file_nor_override_is_an_error(
    mixture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", "tasks.risk.rate", "3"]) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line.strip().partition(": ")[0] for line in lines] == ["tasks.risk.rate", "3"]


def test_a_missing_file_does_not_hide_the_plans_of_the_others(
    mixture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["check", "no.yaml", str(mixture), "--json"]) == 2
    missing, there = json.loads(capsys.readouterr().out)["files"]
    assert [(report["file"], report["ok"]) for report in (missing, there)] == [("no.yaml", False), (str(mixture), True)]
    assert [error["key"] for error in missing["errors"]] == ["no.yaml"]
    assert there["plan"]["steps"] == 20  # an epoch of one step, and passes by size


@pytest.mark.parametrize("arguments", [[], ["a=b"], ["m.yaml", "--epochs", "0"], ["m.yaml", "--jsn"]])
def test_invalid_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check", *arguments])
    assert stopped.value.code == 2
    assert "usage: mtl check" in capsys.readouterr().err

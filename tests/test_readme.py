"""What README and the start page say is so: commands run in their order on their files, and tables are the code's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands import COMMANDS
from mtl.commands import run as run_mtl
from tests.start_page import COPIES, REPOSITORY, START, blocks, commands, files, write_files

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (REPOSITORY / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
COMPONENTS_PAGE = (REPOSITORY / "docs" / "reference" / "components.md").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")


def quick_start() -> list[list[str]]:
    """The commands of the quick start in README, each as its words."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for line in "".join(blocks).replace("\\\n", " ").splitlines()]


def test_the_quick_start_makes_the_demo_and_predicts_with_tasks_of_its_run() -> None:
    demo = yaml.safe_load((REPOSITORY / "experiments" / "mixtures" / "demo.yaml").read_text(encoding="utf-8"))
    *made, predicted = quick_start()
    assert made == [["make", "demo"], ["make", "test"]]
    assert predicted[:3] == [".venv/bin/mtl", "predict", f"runs/{demo['name']}"]
    tasks = list(takewhile(lambda word: not word.startswith("-"), predicted[predicted.index("--task") + 1 :]))
    assert tasks
    assert set(tasks) <= set(demo["tasks"])


def test_readme_shows_the_first_commands_of_the_start_page() -> None:
    steps = re.search(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert steps is not None
    shown = [line.split()[:2] for line in steps[1].splitlines()]
    assert shown == [command.split()[:2] for command in commands()][: len(shown)]


def test_all_commands_and_files_of_the_start_page_are_seen() -> None:
    assert [shlex.split(command)[:2] for command in commands()] == [
        ["mtl", "check"],
        ["mtl", "fit"],
        ["mtl", "test"],
        ["mtl", "errors"],
        ["mtl", "predict"],
        ["mtl", "study"],
        ["mtl", "study"],
        ["mtl", "study"],
    ]
    assert sorted(files()) == ["findings.conll", "notes.jsonl", "notes.yaml", "pairs.csv", "study.yaml"]
    assert len(blocks("python")) == 1


def test_what_make_is_asked_for_are_its_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [README, START, *(path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md"))]
    asked = {target for page in pages for target in re.findall(r"(?:`|^)make ([a-z-]+)", page, re.MULTILINE)}
    assert {"demo", "demo-study", "test", "test-slow", "docs", "wheelhouse"} <= asked
    assert asked <= targets


@pytest.mark.slow
def test_the_commands_run_on_the_files_that_the_start_page_shows(tmp_path: Path) -> None:
    write_files(tmp_path)
    asked = [shlex.split(command)[1:] for command in commands() if command.startswith("mtl ")]
    # One process for all of them: each would spend seconds on imports.
    script = (
        f"from mtl.commands import run\nfor words in {asked!r}:\n    print('exit', words[0], run(words), flush=True)\n"
    )
    done = run(tmp_path, script + blocks("python")[0])
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.findall(r"^exit (\w+) (\d)", done.stdout, re.MULTILINE) == [(words[0], "0") for words in asked]
    metrics = json.loads(next((tmp_path / "runs" / "notes").glob("*/metrics.json")).read_text())
    assert {split: set(tasks) for split, tasks in metrics.items() if split in ("dev", "test")} == {
        "dev": {"bleeding", "answers", "findings"},
        "test": {"bleeding", "answers", "findings"},
    }
    predicted = (tmp_path / "predicted.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(predicted) == len(files()["notes.jsonl"].splitlines()) * COPIES
    study = json.loads((tmp_path / "runs/studies/notes_study/report/findings.json").read_text(encoding="utf-8"))
    assert {gain["target"] for gain in study["families"][0]["gains"]} == {"bleeding", "answers"}


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    unset = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MTL_RUN_FOLDER")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"MTL_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def demo_table() -> dict[str, list[str]]:
    """The table of the demo's scores in README, by task."""
    section = README.partition("## Quick start")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert rows[0] == ["task", "metric", "strongest trivial predictor", "alone", "in the mixture"]
    return {task: cells for task, *cells in rows[2:]}


def demo_results() -> dict[str, dict[str, Any]]:
    path = REPOSITORY / "experiments" / "results" / "demo.json"
    return {row["task"]: row for row in json.loads(path.read_text(encoding="utf-8"))["tasks"]}


def test_the_scores_of_the_demo_are_those_of_the_results() -> None:
    import against_single

    shown, results = demo_table(), demo_results()
    mixture = yaml.safe_load((REPOSITORY / "experiments" / "mixtures" / "demo.yaml").read_text(encoding="utf-8"))
    assert list(shown) == list(results) == list(mixture["tasks"])
    for task, (metric, trivial, alone, together) in shown.items():
        row = results[task]
        assert metric == row["metric"]
        assert trivial == f"{row['baseline']['name']} {row['baseline']['test']:.3f}"
        assert alone == against_single.spread(row["alone"]["test"])
        assert together == against_single.spread(row["mixture"]["test"])


def test_every_task_of_the_demo_beats_its_trivial_predictors_and_one_gains_from_the_mixture() -> None:
    gains: dict[str, list[float]] = {}
    for task, row in demo_results().items():
        together, alone = row["mixture"]["test"], row["alone"]["test"]
        assert len(together) >= 5
        assert min(together) > row["baseline"]["test"]
        gains[task] = [score - single for score, single in zip(together, alone, strict=True)]
    assert min(gains["adverse_events"]) > 0, "the planted gain"
    assert sum(gains["adverse_events"]) / len(gains["adverse_events"]) > 0.1


@pytest.mark.slow
@pytest.mark.soak
def test_the_demo_gives_the_scores_in_readme_and_predicts_as_shown_there(tmp_path: Path) -> None:
    options = ["--config", str(REPOSITORY / "experiments" / "demo.yaml"), "--run.track=false"]
    *_, (_, *predict) = quick_start()
    for words in (["fit", *options], ["test", *options, "--ckpt_path", "best"], predict):
        command = [sys.executable, "-m", "mtl", *words]
        environment = os.environ | {"MTL_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(command, cwd=tmp_path, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    (file,) = (tmp_path / "runs" / "demo").glob("2*/metrics.json")
    scores = json.loads(file.read_text(encoding="utf-8"))["test"]
    for task, row in demo_results().items():
        known = row["mixture"]["test"]
        low, high = min(known), max(known)
        margin = max(high - low, 0.02)  # another processor rounds differently
        assert low - margin <= scores[task][row["metric"]] <= high + margin
        assert scores[task][row["metric"]] > row["baseline"]["test"]
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["predictions"]["mentions"]["entities"]


def test_the_table_of_commands_is_that_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    table = COMMANDS_PAGE.partition("\n## ")[0]
    named = re.findall(r"^\| `mtl (\w+)", table, re.MULTILINE)
    assert list(dict.fromkeys(named)) == list(COMMANDS)
    actions = re.findall(r"^\| `mtl study (\w+)", table, re.MULTILINE)
    with pytest.raises(SystemExit):
        run_mtl(["study", "--help"])
    assert f"{{{','.join(actions)}}}" in capsys.readouterr().out


def test_the_map_names_every_package_and_no_other() -> None:
    section = CONTRIBUTING.partition("### Map of the code")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `((?:mtl|heads)/[\w/]*)`", section, re.MULTILINE))
    packages = {f"mtl/{path.parent.name}/" for path in (REPOSITORY / "mtl").glob("*/__init__.py")}
    assert named == packages | {"heads/"}


@pytest.mark.parametrize("folder", ["heads", "mtl/readers", "mtl/samplers", "mtl/balancing"])
def test_every_component_is_listed(folder: str) -> None:
    there = {path.stem for path in (REPOSITORY / folder).glob("*.py") if not path.name.startswith("_")}
    listed = re.search(rf"^- `{folder}/`: (.*?)(?=^- |^$)", COMPONENTS_PAGE, re.MULTILINE | re.DOTALL)
    assert listed is not None
    helpers = {"rows", "scores"} if folder == "heads" else set()
    assert set(re.sub(r"\(.*?\)|\s", "", listed[1]).split(",")) == there - helpers


def test_every_link_leads_to_a_file_of_the_repository_and_a_heading_in_it() -> None:
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", README)]
    assert links
    assert [file for file, _, _ in links if not (REPOSITORY / file).exists()] == []
    for file, has_anchor, anchor in links:
        if has_anchor:
            text = (REPOSITORY / file).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}

"""The examples of CONTRIBUTING are one new file each, and train."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = re.compile(r"^```python\n# (?P<path>\S+)\n(?P<source>.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(re.findall("^```python", text, re.MULTILINE)) == 3
    return {match["path"]: match["source"] for match in EXAMPLE.finditer(text)}


def test_the_examples_are_a_head_a_reader_and_a_sampler_that_are_not_there_yet() -> None:
    assert sorted(examples()) == ["heads/smoothed.py", "mtl/readers/piped.py", "mtl/samplers/in_blocks.py"]
    assert not any((REPOSITORY / path).exists() for path in examples())


@pytest.mark.slow
def test_a_head_a_reader_and_a_sampler_are_added_by_one_new_file_each(
    tmp_path: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    for package in ("mtl", "heads"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, source in examples().items():
        (tmp_path / path).write_text(source, encoding="utf-8")
    for split in ("train", "dev"):
        lines = ["yes|aspirin reduces fever", "no|the patient was with headache"] * 4
        (tmp_path / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")
    task = {"head": "smoothed", "options": {"smoothing": 0.2}, "labels": ["yes", "no"]}
    mixture = {
        "name": "added",
        "encoder": {"name": str(tiny_encoder("bert")), "max_length": 16},
        "sampler": {"name": "in_blocks"},
        "batch_size": 4,
        "tasks": {name: {**task, "data": {"reader": "piped", "path": str(tmp_path)}} for name in ("one", "two")},
    }
    (tmp_path / "added.yaml").write_text(json.dumps(mixture), encoding="utf-8")
    command = [sys.executable, "-m", "mtl", "fit", "--mixture", "added.yaml", "--trainer.max_epochs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "MTL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--run.track", "false"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    metrics = next((tmp_path / "runs" / "added").glob("*/metrics.json"))
    scores = json.loads(metrics.read_text())
    assert set(scores["dev"]) == {"one", "two"}
    # Smoothing by 0.2 keeps a cross-entropy of two classes above the entropy of (0.9, 0.1).
    assert all(scores["train"][task]["loss"] > 0.325 for task in ("one", "two"))

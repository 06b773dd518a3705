"""`mtl predict` with the run of planted mentions and relations."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from mtl import predict_rows
from mtl.commands import run as command
from mtl.prediction.pipeline import CHUNK
from tests import five_tasks

FP32 = {"accelerator": "cpu", "precision": "32-true"}
TEXT = "aspirin increases fever and risk"


def predict(run: Path, source: Any, output: Any = None, tasks: Any = ("kind",), **options: Any) -> Any:
    return predict_rows(run, source, output, tasks=list(tasks), trainer=FP32, **options)


def cli(run: Path, *options: str) -> int:
    trainer = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"]
    return command(["predict", str(run), *options, *trainer])


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def many(path: Path, num_rows: int = 2 * CHUNK + 9) -> Path:
    rows = [{"id": f"r{n}", "text": " ".join([TEXT, *["the"] * (n % 11)]), "n": n} for n in range(num_rows)]
    five_tasks.write_lines(path, rows)
    return path

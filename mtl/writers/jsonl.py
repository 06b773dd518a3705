"""JSON lines: one object per text with its id, its document, the carried keys and the prediction of each task."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from mtl.files import finite
from mtl.private_files import replacing_private
from mtl.writers import PredictedRow, PredictionWriter


class JsonlWriter(PredictionWriter):
    """``{"id": "1", "document": "d", "predictions": {"acute": {"label": "yes", "score": 0.9, "scores": {…}}}}``."""

    suffixes = (".jsonl", ".ndjson")

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        with replacing_private(path) as file:
            for row in rows:
                file.write(json.dumps(finite(row.to_dict()), ensure_ascii=False, allow_nan=False) + "\n")

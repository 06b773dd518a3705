"""How long `mtl check` and the way to the first step of `mtl fit` take with many tasks.

    python experiments/bench/load.py --tasks 200

Each task has 100 invented rows. The first check reads and encodes them; the second finds them in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SPLITS = {"train": 60, "dev": 20, "test": 20}

FIRST_STEP = ("--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--run.track=false", "--run.baselines=false")


def main(arguments: Sequence[str]) -> None:
    """Prints the seconds of processor time and on the clock of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200, help="number of tasks (default 200)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        mixture = write(Path(name), options.tasks)
        for what, words in (
            ("check, new rows", ("check", str(mixture))),
            ("check, cached rows", ("check", str(mixture))),
            ("fit, one step", ("fit", "--mixture", str(mixture), f"--run.root={name}/runs", *FIRST_STEP)),
        ):
            cpu, seconds = timed(words, Path(name))
            print(f"{what}: {cpu:.1f} s of processor time, {seconds:.1f} s on the clock", flush=True)


def write(folder: Path, num_tasks: int) -> Path:
    """Writes a mixture of classification tasks on invented rows."""
    draws = random.Random(0)
    words = [f"w{number}" for number in range(500)]
    fields = []
    for task in range(num_tasks):
        (folder / f"t{task}").mkdir()
        for split, number in SPLITS.items():
            rows = (
                {
                    "id": f"{task}-{split}-{row}",
                    "text": " ".join([*draws.choices(words, k=25), f"{task}-{split}-{row}"]),
                    "label": draws.choice("ab"),
                }
                for row in range(number)
            )
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"t{task}" / f"{split}.jsonl").write_text(text, encoding="utf-8")
        data = f"{{reader: jsonl, path: t{task}}}"
        fields.append(f"  t{task}: {{head: classification, labels: [a, b], data: {data}}}\n")
    mixture = folder / "many.yaml"
    encoder = "{name: minilm-l6, num_layers: 1, max_length: 48}"
    mixture.write_text(f"name: many\nencoder: {encoder}\ntasks:\n{''.join(fields)}", encoding="utf-8")
    return mixture


def timed(words: Sequence[str], work: Path) -> tuple[float, float]:
    """Processor time and time on the clock of a command in one thread, in seconds."""
    environment = {**os.environ, "MTL_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "mtl", *words], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1:])

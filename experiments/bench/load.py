"""How `mtl` bears large inputs: many tasks, labels and rows, a long document, and a long training.

    python experiments/bench/load.py tasks rows document labels
    python experiments/bench/load.py leakage
    python experiments/bench/load.py soak --minutes 30

Everything is invented. Each command runs in one thread and in a process of its own, and its processor time, time on the
clock and peak memory are printed. A first check reads and encodes the rows; a second one finds them in the cache.

`leakage` compares 200,000 sentences of two tasks, as `mtl check` and `mtl fit` do once for the same rows. A hundredth
of those of dev and test are in the other task's train. Reading the rows is not counted.

`soak` trains a small encoder for many short passes, with an evaluation and a save after each, samples memory and open
files of the process, and prints their slopes over the last two thirds of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import NamedTuple

SPLITS = {"train": 60, "dev": 20, "test": 20}

SMALL = "{name: minilm-l6, num_layers: 1, max_length: 48}"
"""An encoder whose own work is short."""

QUIET = ("--run.track=false", "--run.baselines=false")

ONE_STEP = ("--trainer.max_steps=1", "--trainer.limit_val_batches=0", *QUIET)

WORDS = [f"w{number}" for number in range(500)]


class Cost(NamedTuple):
    """What a command took: seconds of processor time, seconds on the clock, and peak memory in MB."""

    cpu: float
    clock: float
    memory: float


def main(arguments: Sequence[str]) -> None:
    """Runs the parts and prints what each command took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "leakage", "soak"])
    parser.add_argument("--tasks", type=int, default=200, help="number of tasks (default 200)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of training rows (default a million)")
    parser.add_argument("--characters", type=int, default=200_000, help="length of the document (default 200,000)")
    parser.add_argument("--labels", type=int, default=100_000, help="number of labels (default 100,000)")
    parser.add_argument("--sentences", type=int, default=200_000, help="number of sentences (default 200,000)")
    parser.add_argument("--minutes", type=float, default=30, help="length of the soak (default 30)")
    options = parser.parse_args(arguments)
    for part in options.parts:
        with tempfile.TemporaryDirectory() as name:
            if part == "soak":
                soak(Path(name), options.minutes)
                continue
            if part == "leakage":
                leakage(Path(name), options.sentences)
                continue
            mixture = PARTS[part](Path(name), options)
            fit = ("fit", "--mixture", str(mixture), f"--run.root={name}/runs", *ONE_STEP)
            check = ("check", str(mixture))
            for what, words in (("check, new rows", check), ("check, cached rows", check), ("fit, one step", fit)):
                cost = taken(words, Path(name))
                print(
                    f"{part}: {what}: {cost.cpu:.1f} s of processor time, {cost.clock:.1f} s on the clock, "
                    f"{cost.memory:.0f} MB",
                    flush=True,
                )


# --- the inputs -------------------------------------------------------------------------------------------------------


def many_tasks(folder: Path, options: argparse.Namespace) -> Path:
    """A mixture of many classification tasks with 100 rows each."""
    for task in range(options.tasks):
        write_splits(folder / f"t{task}", SPLITS, labelled(task, ("a", "b")))
    return mixture_file(folder, {f"t{task}": classification(f"t{task}", ("a", "b")) for task in range(options.tasks)})


def many_rows(folder: Path, options: argparse.Namespace) -> Path:
    """A mixture of one classification task with many training rows."""
    write_splits(folder / "t", {**SPLITS, "train": options.rows}, labelled(0, ("a", "b")))
    return mixture_file(folder, {"t": classification("t", ("a", "b"))})


def many_labels(folder: Path, options: argparse.Namespace) -> Path:
    """A mixture of one classification task with many labels."""
    labels = tuple(f"C{number}" for number in range(options.labels))
    write_splits(folder / "t", {**SPLITS, "train": 1000}, labelled(0, labels))
    return mixture_file(folder, {"t": classification("t", labels)})


def long_document(folder: Path, options: argparse.Namespace) -> Path:
    """A mixture of one entity task in which one training document is very long."""

    def row(split: str, number: int, draws: random.Random) -> dict[str, object]:
        length = options.characters if (split, number) == ("train", 0) else 200
        words, entities, start = [], [], 0
        while start < length:
            words.append(draws.choice(WORDS))
            if draws.random() < 0.05:
                entities.append({"id": f"e{start}", "type": "Drug", "spans": [[start, start + len(words[-1])]]})
            start += len(words[-1]) + 1
        return {"id": f"{split}-{number}", "text": " ".join(words), "entities": entities}

    write_splits(folder / "t", SPLITS, row)
    return mixture_file(folder, {"t": "{head: token_classification, labels: [Drug], data: {reader: jsonl, path: t}}"})


PARTS: dict[str, Callable[[Path, argparse.Namespace], Path]] = {
    "tasks": many_tasks,
    "rows": many_rows,
    "document": long_document,
    "labels": many_labels,
}


def labelled(task: int, labels: Sequence[str]) -> Callable[[str, int, random.Random], dict[str, object]]:
    """Makes a row of 25 random words with a random label."""

    def row(split: str, number: int, draws: random.Random) -> dict[str, object]:
        name = f"{task}-{split}-{number}"
        return {"id": name, "text": " ".join([*draws.choices(WORDS, k=25), name]), "label": draws.choice(labels)}

    return row


def write_splits(
    folder: Path, splits: dict[str, int], row: Callable[[str, int, random.Random], dict[str, object]]
) -> None:
    """Writes a file of rows for each split."""
    folder.mkdir()
    draws = random.Random(folder.name)
    for split, number in splits.items():
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row(split, index, draws)) + "\n" for index in range(number))


def classification(path: str, labels: Iterable[str]) -> str:
    """The fields of a classification task."""
    return f"{{head: classification, labels: [{', '.join(labels)}], data: {{reader: jsonl, path: {path}}}}}"


def mixture_file(folder: Path, tasks: dict[str, str]) -> Path:
    """Writes a mixture of tasks."""
    fields = "".join(f"  {name}: {task}\n" for name, task in tasks.items())
    mixture = folder / "load.yaml"
    mixture.write_text(f"name: load\nencoder: {SMALL}\ntasks:\n{fields}", encoding="utf-8")
    return mixture


COMPARE = """
import sys, time
from pathlib import Path
from mtl.config.loading import load_mixture
from mtl.data.leakage_gate import find_leakage
from mtl.data.reading import read_rows
from mtl.data.store import Store

mixture = load_mixture(Path(sys.argv[1]))
for name, task in mixture.tasks.items():
    read_rows(task.data, f"tasks.{name}.data", Store())
started = time.perf_counter(), time.process_time()
found = find_leakage(mixture)
print(time.perf_counter() - started[0], time.process_time() - started[1], len(found.overlaps))
"""


def sharing(own: Iterator[str], others: Sequence[str]) -> Callable[[str, int, random.Random], dict[str, object]]:
    """Makes a row of the next text; each hundredth row of dev and test has one of the other task's train."""

    def row(split: str, number: int, draws: random.Random) -> dict[str, object]:
        text = next(own)
        is_shared = split != "train" and number % 100 == 0
        return {"id": f"{split}-{number}", "text": others[number] if is_shared else text, "label": "x"}

    return row


def leakage(folder: Path, num_sentences: int) -> None:
    """Compares the sentences of two tasks and prints how long it took."""
    draws = random.Random(0)
    size = num_sentences // 10
    sizes = {"train": 4 * size, "dev": size // 2, "test": size // 2}
    texts = {task: [" ".join(draws.choices(WORDS, k=20)) for _ in range(5 * size)] for task in "ab"}
    for task, other in ("ab", "ba"):
        write_splits(folder / task, sizes, sharing(iter(texts[task]), texts[other]))
    mixture = mixture_file(folder, {task: classification(task, ("x", "y")) for task in "ab"})
    environment = {**os.environ, "MTL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", COMPARE, str(mixture)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    clock, cpu, overlaps = done.stdout.split()
    print(
        f"leakage: {10 * size} sentences compared in {float(clock):.1f} s ({float(cpu):.1f} s of processor time), "
        f"{overlaps} overlaps found",
        flush=True,
    )


# --- measuring --------------------------------------------------------------------------------------------------------


def command(words: Sequence[str], work: Path) -> subprocess.Popen[bytes]:
    """Starts a command in one thread, with a cache of its own."""
    environment = {**os.environ, "MTL_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    with (work / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "mtl", *words], env=environment, stdout=log, stderr=log)


def taken(words: Sequence[str], work: Path) -> Cost:
    """What a command takes.

    Raises:
        SystemExit: The command failed; its output is the message.
    """
    started = time.perf_counter()
    _, status, usage = os.wait4(command(words, work).pid, 0)
    if status != 0:
        raise SystemExit((work / "log").read_text())
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024)


def soak(folder: Path, minutes: float, every: float = 5.0) -> None:
    """Trains until the time is over and prints the slopes of memory and open files."""
    write_splits(folder / "t", SPLITS, labelled(0, ("a", "b")))
    mixture = mixture_file(folder, {"t": classification("t", ("a", "b"))})
    process = command(
        ("fit", "--mixture", str(mixture), f"--run.root={folder}/runs", "--trainer.max_epochs=1000000",
         "--run.baselines=false"), folder
    )  # fmt: skip
    samples = list(sampled(process, minutes * 60, every))
    process.terminate()
    process.wait()
    kept = [sample for sample in samples if sample[0] >= minutes * 20]
    passes = len((next((folder / "runs").glob("*/*/metrics.jsonl"))).read_text().splitlines())
    print(f"soak: {minutes:g} minutes, {passes} lines of metrics, {len(kept)} samples")
    for index, (what, unit) in enumerate((("memory", "MB"), ("open files", "files"), ("threads", "threads")), 1):
        values = [sample[index] for sample in kept]
        slope = linear_regression([sample[0] / 3600 for sample in kept], values).slope
        print(f"soak: {what}: {values[0]:.1f} at first, {values[-1]:.1f} at last, {slope:+.2f} {unit} per hour")


def sampled(process: subprocess.Popen[bytes], seconds: float, every: float) -> Iterator[tuple[float, ...]]:
    """Seconds since the start, memory in MB, open files and threads of a process, until the time is over.

    Raises:
        SystemExit: The process ended before.
    """
    started = time.monotonic()
    while (now := time.monotonic() - started) < seconds:
        if process.poll() is not None:
            raise SystemExit(f"The training ended after {now:.0f} s with exit code {process.returncode}.")
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":" in line
        )
        files = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
        yield now, int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"])
        time.sleep(every)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Sends signals to real runs of one and two processes, and says how each ended.

    python -m tests.signal_matrix FOLDER MIXTURE

prints the table for a mixture, such as one that the fixture `toy_mixture` writes, and keeps the runs in the folder.
Each run is slowed down, gets its signal as soon as it has saved a checkpoint, and is then resumed to its end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from mtl.tracking.mlflow_client import prepare_mlflow

prepare_mlflow()
from mlflow import MlflowClient  # noqa: E402

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGKILL)
TARGETS = ("0", "1", "all")
CELLS = [
    (sent, processes, target)
    for sent in SIGNALS
    for processes in (1, 2)
    for target in (TARGETS if processes > 1 else ("0",))
]
LIMIT = 30.0
"""Seconds within which all processes must have ended."""

PAUSE = '''
import time
from pathlib import Path

from pytorch_lightning.callbacks import Callback


class Pause(Callback):
    """Slows training and evaluation down, so that a signal meets them."""

    def __init__(self, training: float = 0.0, evaluation: float = 0.0) -> None:
        self._training, self._evaluation = training, evaluation

    def on_train_batch_start(self, *_) -> None:
        time.sleep(self._training)

    def on_validation_batch_start(self, trainer, *_) -> None:
        (Path(trainer.default_root_dir) / "evaluating").touch()
        time.sleep(self._evaluation)
'''
OPTIONS = (
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_epochs=5",  # 70 updates of the toy mixture
    "--run.save_every=2",
    "--run.baselines=false",
)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        seconds: Time from the signal to the end of the last process; None if one was still alive after `LIMIT`.
        code: Exit status of rank 0.
        status: Status in `run.json`.
        in_mlflow: Status in MLflow.
        step: Number of updates in `last`; None if there is none or it cannot be read.
        output: What all processes printed.
    """

    seconds: float | None
    code: int | None
    status: str
    in_mlflow: str
    step: int | None
    output: str


class Run:
    """A run of `mtl fit` in processes of its own.

    Args:
        mixture: Mixture file.
        root: New folder for the runs, MLflow's store and the output.
        processes: Number of processes that train together.
        options: Further options of the command.
    """

    def __init__(self, mixture: Path, root: Path, processes: int, options: Sequence[str] = ()) -> None:
        self.root = root
        root.mkdir(parents=True)
        (root / "pause_of_tests.py").write_text(PAUSE, encoding="utf-8")
        shutil.copy(empty_store(root.parent), root / "mlflow.db")
        several = ("--trainer.devices=2", "--trainer.strategy=ddp") if processes > 1 else ()
        self._words = ["fit", f"--mixture={mixture}", f"--run.root={root / 'runs'}", *OPTIONS, *several, *options]

    def start(self, *more: str, pause: float = 0.3, evaluation: float = 0.0) -> subprocess.Popen[bytes]:
        """Starts the command with a pause in every step, and returns the process of rank 0."""
        with (self.root / "output").open("ab") as output:
            return subprocess.Popen(
                self.command(*more, pause=pause, evaluation=evaluation),
                cwd=self.root,
                env=environment(self.root, self.store),
                stdout=output,
                stderr=output,
                # A shell that runs the tests in the background makes its processes ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )

    def command(self, *more: str, pause: float, evaluation: float = 0.0) -> list[str]:
        """The words of the command, with a pause in every step."""
        pauses = {"class_path": "pause_of_tests.Pause", "init_args": {"training": pause, "evaluation": evaluation}}
        return [sys.executable, "-m", "mtl", *self._words, f"--trainer.callbacks={json.dumps(pauses)}", *more]

    @property
    def store(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def folder(self) -> Path | None:
        return next((file.parent for file in self.root.glob("runs/*/*/run.json")), None)

    @property
    def output(self) -> str:
        return (self.root / "output").read_text(encoding="utf-8", errors="replace")

    @property
    def last(self) -> Path | None:
        """The file of `last`; None before it was saved."""
        pointers = read(self.folder / "checkpoints.json") if self.folder else {}
        return self.folder / pointers["last"]["path"] if self.folder and "last" in pointers else None

    def wait_for_checkpoint(self, process: subprocess.Popen[bytes], limit: float = 180) -> None:
        """Waits until `last` is saved and MLflow has the run."""
        until = time.monotonic() + limit
        while self.last is None or not self._is_in_mlflow():
            assert process.poll() is None, self.output
            assert time.monotonic() < until, self.output
            time.sleep(0.05)

    def outcome(self, process: subprocess.Popen[bytes], started: float, ranks: Sequence[psutil.Process]) -> Outcome:
        """Waits until all ranks have ended, and says how."""
        while (alive := [rank for rank in ranks if not has_ended(rank)]) and time.monotonic() - started < LIMIT:
            process.poll()
            time.sleep(0.05)
        seconds = None if alive else time.monotonic() - started
        for rank in alive:
            rank.kill()
        code = process.wait(30)
        info = read(self.folder / "run.json") if self.folder else {}
        return Outcome(seconds, code, info.get("status", ""), self.in_mlflow(info), steps(self.last), self.output)

    def _is_in_mlflow(self) -> bool:
        return self.folder is not None and "run_id" in read(self.folder / "run.json").get("mlflow", {})

    def in_mlflow(self, info: Mapping[str, Any]) -> str:
        """The status in MLflow of a run, by the content of its `run.json`."""
        run_id = info.get("mlflow", {}).get("run_id")
        return "" if run_id is None else str(MlflowClient(self.store).get_run(run_id).info.status)


def ranks_of(process: subprocess.Popen[bytes], number: int) -> list[psutil.Process]:
    """The processes of a run, in order of rank."""
    first = psutil.Process(process.pid)
    others = [child for child in first.children() if "LOCAL_RANK" in child.environ()]
    ranks = [first, *sorted(others, key=lambda child: int(child.environ()["LOCAL_RANK"]))]
    assert len(ranks) == number, ranks
    return ranks


def empty_store(folder: Path) -> Path:
    """A store of MLflow without runs, made once, because that takes seconds."""
    path = folder / "empty.db"
    if not path.is_file():
        MlflowClient(f"sqlite:///{path}").get_experiment_by_name("none")
    return path


def has_ended(rank: psutil.Process) -> bool:
    """Whether a process has ended, even if nobody has read its exit status."""
    try:
        return not rank.is_running() or rank.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def send(sent: signal.Signals, ranks: Sequence[psutil.Process], target: str) -> None:
    """Sends a signal to one rank, or to all."""
    for rank in ranks if target == "all" else [ranks[int(target)]]:
        rank.send_signal(sent)


def hit(run: Run, sent: signal.Signals, processes: int, target: str, **pauses: float) -> Outcome:
    """Starts a run, sends it a signal once it has saved a checkpoint, and says how it ended."""
    process = run.start(**pauses)
    ranks = [psutil.Process(process.pid)]
    try:
        run.wait_for_checkpoint(process)
        ranks = ranks_of(process, processes)
        started = time.monotonic()
        send(sent, ranks, target)
        return run.outcome(process, started, ranks)
    finally:
        for rank in ranks:
            if not has_ended(rank):
                rank.kill()
        process.wait()


def resume(run: Run, *more: str) -> int:
    """Resumes a run to its end, without pauses, and returns its exit status."""
    assert run.last is not None
    return run.start(f"--ckpt_path={run.last}", *more, pause=0.0).wait(300)


def environment(folder: Path, store: str) -> dict[str, str]:
    left = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MTL_RUN_FOLDER", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in left}
    paths = f"{folder}:{Path(__file__).parents[1]}"
    places = {"MLFLOW_TRACKING_URI": store, "MTL_CACHE": str(folder.parent / "cache")}
    return {**kept, **places, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def steps(checkpoint: Path | None) -> int | None:
    """The number of updates in a checkpoint; None if it cannot be read."""
    try:
        return int(torch.load(checkpoint, weights_only=True)["global_step"]) if checkpoint else None
    except Exception:  # a torn file raises all sorts of errors
        return None


def same_weights(one: Path | None, other: Path | None) -> bool:
    contents = [torch.load(path, weights_only=True)["state_dict"] for path in (one, other) if path]
    return len(contents) == 2 and all(torch.equal(value, contents[1][name]) for name, value in contents[0].items())


def table(mixture: Path, folder: Path, cells: Sequence[tuple[signal.Signals, int, str]] = CELLS) -> Iterator[str]:
    """The lines of the table: one per signal, number of processes and target."""
    yield "| signal | processes | sent to | seconds | exit | run.json | MLflow | last | resumed |"
    yield "|---|---|---|---|---|---|---|---|---|"
    whole: dict[int, Run] = {}
    for sent, processes, target in cells:
        if processes not in whole:
            whole[processes] = Run(mixture, folder / f"whole-{processes}", processes)
            assert whole[processes].start(pause=0.0).wait(300) == 0, whole[processes].output
        run = Run(mixture, folder / f"{sent.name}-{processes}-{target}", processes)
        done = hit(run, sent, processes, target)
        seconds = f"> {LIMIT:.0f}" if done.seconds is None else f"{done.seconds:.1f}"
        resumed = "no"
        if done.step is not None and resume(run) == 0:
            resumed = "identical" if same_weights(run.last, whole[processes].last) else "other weights"
        row = (sent.name, processes, target, seconds, done.code, done.status, done.in_mlflow, done.step, resumed)
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    folder = Path(arguments[0]).absolute()
    for line in table(Path(arguments[1]).absolute(), folder):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

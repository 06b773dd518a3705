"""Measures the training speed of biomtl and of its alternatives in rounds, and writes the report.

    python experiments/bench/throughput.py                    # or: make bench
    python experiments/bench/throughput.py --rounds 1 --only ours bare
    python experiments/bench/throughput.py --rounds 0         # only the report, from existing rounds

In a round, each contestant runs in its own process, one after the other, with the same examples, seed and threads; the
next round starts with the next contestant. Measurements are kept in OUT/bench.jsonl and not repeated; OUT/bench.md,
bench.json and bench.png are written from that file after every round.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench_page import report
from machine import machine

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contestant:
    """The configuration of one process of a round.

    Args:
        runner: A function of `contestants.py`.
        mixture: Name of the mixture file, without its suffix.
        arguments: Additional arguments of `mtl fit`.
        threads: Threads per process; None uses those of the setting.
        rounds: Number of rounds in which it takes part; None is all.
        needed: Whether the benchmark stops if it fails; otherwise it is reported as unavailable.
    """

    runner: str
    mixture: str = "mixture"
    arguments: tuple[str, ...] = ()
    threads: int | None = None
    rounds: int | None = None
    needed: bool = True


DDP = ("--trainer.devices=2", "--trainer.strategy=ddp")
DDP_COMPRESSED = ("--trainer.devices=2", "--trainer.strategy=ddp_bf16")

CONTESTANTS = {
    "ours": Contestant("ours"),
    "ours_fp32": Contestant("ours", arguments=("--trainer.precision=32-true",)),
    # Refused by a processor that emulates bf16.
    "ours_bf16": Contestant("ours", arguments=("--trainer.precision=bf16-mixed",), rounds=3, needed=False),
    "ours_compiled": Contestant("ours", arguments=("--model.compile=true",), rounds=1, needed=False),
    "ours_mixed": Contestant("ours", arguments=("--mixture.tasks_per_step=all", "--mixture.batch_size={share}")),
    "bare": Contestant("bare"),
    "sorted_padded": Contestant("sorted_padded"),
    "hf_default": Contestant("hf_default", needed=False),
    "hf_best": Contestant("hf_best", needed=False),
    "tasknet_default": Contestant("tasknet_default", needed=False),
    "tasknet_best": Contestant("tasknet_best", needed=False),
    "ours_ner": Contestant("ours", "ner", arguments=("--trainer.precision=32-true",)),
    "edsnlp": Contestant("edsnlp", "ner", arguments=("--edsnlp={edsnlp}",), needed=False),
    "gemm": Contestant("gemm"),
    "tasks_2": Contestant("ours", "tasks_2"),
    "tasks_8": Contestant("ours", "tasks_8"),
    "tasks_32": Contestant("ours", "tasks_32"),
    "processes_1": Contestant("ours", threads=1),
    "processes_2": Contestant("ours", arguments=DDP, threads=1),
    "processes_2_compressed": Contestant("ours", arguments=DDP_COMPRESSED, threads=1),
    "evaluation": Contestant("evaluation", rounds=1),
    "rank_balance": Contestant("rank_balance", rounds=1, needed=False),
    "rows_10000": Contestant("ours", "rows_10000", rounds=1),
    "rows_100000": Contestant("ours", "rows_100000", rounds=1),
    "rows_1000000": Contestant("ours", "rows_1000000", rounds=1),
}


def main(arguments: Sequence[str]) -> None:
    """Runs the rounds that are missing and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="(default 7)")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), metavar="NAME", help="some contestants")
    parser.add_argument("--data", choices=["public", "synthetic"], help="(default public where MTL_DATA is set)")
    parser.add_argument(
        "--examples", type=int, default=1500, help="maximum number of training examples per task (default 1500)"
    )
    parser.add_argument("--updates", type=int, default=40, help="timed updates (default 40)")
    parser.add_argument("--warmup", type=int, default=10, help="warm-up updates (default 10)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads per contestant (default all)")
    parser.add_argument("--encoder", default="minilm-l6", help="name of the encoder (default minilm-l6)")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="rows and caches (default runs/bench)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/results"), help="(default runs/bench/results)")
    parser.add_argument("--edsnlp", type=Path, help="environment of EDS-NLP (default WORK/edsnlp, which is made)")
    options = parser.parse_args(arguments)
    options.edsnlp = options.edsnlp or options.work / "edsnlp"
    options.out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "experiments/bench/throughput.py", *arguments])
    names = options.only or list(CONTESTANTS)
    setting = setting_of(options) if options.rounds else {}
    for number in range(options.rounds):
        run_round(number, names, options, setting, command)
        report(options.out)
    print(report(options.out))


def setting_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that all rounds share, as a `bench_data.Setting`.

    The precision is chosen once: it depends on a timing, which could differ in another process.
    """
    from bench_data import Setting

    names = ("examples", "updates", "warmup", "threads", "encoder")
    data = options.data or ("public" if os.environ.get("MTL_DATA") else "synthetic")
    done = read_entries(options.out)
    precision = done[0]["setting"]["precision"] if done else quicker_precision(options.work, options.threads)
    return asdict(Setting(data, precision=precision, **{name: getattr(options, name) for name in names}))


def quicker_precision(work: Path, threads: int) -> str:
    """The precision that `mtl fit` would choose in a process with that many threads."""
    command = [sys.executable, "-c", "from mtl.training.precision import natural_precision as p; print(p('cpu'))"]
    done = subprocess.run(command, env=environment(work, threads), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def run_round(
    number: int, names: Sequence[str], options: argparse.Namespace, setting: Mapping[str, Any], command: str
) -> None:
    """Runs the contestants of a round that are not measured yet; each round starts with a different one."""
    done = read_entries(options.out)
    if any(entry["setting"] != setting for entry in done):
        sys.exit(
            f"{options.out}/bench.jsonl has rounds with another setting. Choose another --out, or delete the file."
        )
    measured = {entry["contestant"] for entry in done if entry["round"] == number and "unavailable" not in entry}
    first = number % len(names)
    for name in [*names[first:], *names[:first]]:
        contestant = CONTESTANTS[name]
        if name in measured or number >= (contestant.rounds or number + 1):
            continue
        print(f"round {number}: {name}", file=sys.stderr, flush=True)
        figures = run(contestant, number, setting, options)
        entry = {"round": number, "contestant": name, **figures, "setting": setting, "command": command}
        with (options.out / "bench.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**entry, "machine": measured_on()}) + "\n")


@cache
def measured_on() -> dict[str, str]:
    """The machine, without the number of threads of this process, which differs from that of the contestants."""
    return {key: value for key, value in machine().items() if key != "machine.threads"}


def run(contestant: Contestant, number: int, setting: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The measurements of one process, or the reason why it failed."""
    work: Path = options.work
    mixture = prepared(contestant.mixture, json.dumps(setting), work)
    out = work / "figures.json"
    out.unlink(missing_ok=True)
    # With five tasks per step, an update then has about as many examples as in the other contestants.
    share = max(1, setting["batch_size"] // 5)
    words = [
        f"--precision={setting['precision']}",
        *(word.format(share=share, edsnlp=options.edsnlp) for word in contestant.arguments),
    ]
    words += [f"--warmup={setting['warmup']}", f"--updates={setting['updates']}", f"--seed={number}", f"--out={out}"]
    command = [sys.executable, str(HERE / "contestants.py"), contestant.runner, f"--mixture={mixture}", *words]
    threads = contestant.threads or setting["threads"]
    done = subprocess.run(command, env=environment(work, threads), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found
    if contestant.needed:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr}")
    return {"unavailable": reason(done.stderr)}


def reason(stderr: str) -> str:
    r"""The last error of a traceback, without the hints that may follow it.

    >>> reason("Traceback (most recent call last):\n  File ...\ntorch.Error: no room\n\nSet X=1 for more\n")
    'torch.Error: no room'
    """
    lines = [line for line in stderr.strip().splitlines() if line]
    errors = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception|Unsupported|Failed)\w*: ", line)]
    return (errors or lines or ["no message"])[-1]


@cache
def prepared(mixture: str, setting: str, work: Path) -> Path:
    """The mixture file, with its examples encoded; prepared once per command."""
    command = [sys.executable, str(HERE / "bench_data.py"), mixture, "--setting", setting, "--work", str(work)]
    subprocess.run(command, env=environment(work, json.loads(setting)["threads"]), check=True)
    return work / f"{mixture}.yaml"


def environment(work: Path, threads: int) -> dict[str, str]:
    """The environment of every contestant: CPU only, no network, and the thread settings of `mtl`."""
    work = work.resolve()
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "3000",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "MTL_CACHE": str(work / "cache"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{work / 'mlflow.db'}",
    }


def read_entries(out: Path) -> list[dict[str, Any]]:
    """The measurements so far, oldest first."""
    path = out / "bench.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:])

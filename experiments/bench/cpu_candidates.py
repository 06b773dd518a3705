"""Which ways to compute a step faster on a CPU are faster than the present code.

    python experiments/bench/cpu_candidates.py
    python experiments/bench/cpu_candidates.py --rounds 1 --updates 3 --warmup 2    # to try the script
    python experiments/bench/cpu_candidates.py --rounds 0                           # only the report

Each measurement is a process of its own that trains a plain loop in fp32 over the benchmark's batches, which are ready
in memory. In a round, all candidates read the same batches, one after the other, and each round starts with another
one; only ratios within a round are compared. Measurements are kept in OUT/cpu_candidates.jsonl and not repeated.

- `now`: the present code. It also times how a batch is assembled from the cache, and the parts of a step.
- `compiled`: `--model.compile true`, one code for all shapes.
- `compiled_static`: `torch.compile` with one code per number of tokens, which a batch reaches by sequences of one token
  after its own. All numbers are compiled before the first timed update.
- `lazy_rows`: AdamW computes only those rows of the table of token embeddings that a batch reads, see `lazy_rows.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench_data import Setting
from candidate_training import CANDIDATES, PARTS
from machine import machine_line
from throughput import environment, measured_on, prepared

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> None:
    """Measures what is missing and writes cpu_candidates.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), metavar="NAME", help="some candidates and `now`")
    parser.add_argument("--updates", type=int, default=30, help="timed updates (default 30)")
    parser.add_argument("--warmup", type=int, default=5, help="updates before them (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default all)")
    parser.add_argument("--examples", type=int, default=1500, help="training examples per task at most")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="rows and caches (default runs/bench)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/results"), help="(default runs/bench/results)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    data = "public" if os.environ.get("MTL_DATA") else "synthetic"
    names = ("examples", "updates", "warmup", "threads", "encoder")
    setting = asdict(Setting(data, **{name: getattr(options, name) for name in names}))
    command = shlex.join(["python", "experiments/bench/cpu_candidates.py", *arguments])
    chosen = list(CANDIDATES) if options.only is None else ["now", *(name for name in options.only if name != "now")]
    for number in range(options.rounds):
        run_round(number, chosen, options, setting, command)
        report(options.out)
    print(report(options.out))


def run_round(
    number: int, names: Sequence[str], options: argparse.Namespace, setting: Mapping[str, Any], command: str
) -> None:
    """Runs the candidates of a round that are not measured yet."""
    done = read_entries(options.out)
    if any(entry["setting"] != setting for entry in done):
        sys.exit(f"{options.out}/cpu_candidates.jsonl has another setting. Choose another --out, or delete the file.")
    measured = {entry["candidate"] for entry in done if entry["round"] == number}
    first = number % len(names)
    for name in [*names[first:], *names[:first]]:
        if name in measured:
            continue
        print(f"round {number}: {name}", file=sys.stderr, flush=True)
        figures = run(name, number, options.work, setting)
        entry = {"round": number, "candidate": name, **figures, "setting": setting, "command": command}
        with (options.out / "cpu_candidates.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**entry, "machine": measured_on()}) + "\n")


def run(name: str, number: int, work: Path, setting: Mapping[str, Any]) -> dict[str, Any]:
    """The measurements of one process."""
    job = {"mixture": str(prepared("mixture", json.dumps(setting), work)), "seed": number}
    job |= {key: setting[key] for key in ("warmup", "updates")}
    out = work / "candidate.json"
    command = [sys.executable, str(HERE / "candidate_training.py"), name, json.dumps(job), str(out)]
    subprocess.run(command, env=environment(work, setting["threads"]), check=True)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def read_entries(out: Path) -> list[dict[str, Any]]:
    """The measurements so far, oldest first."""
    path = out / "cpu_candidates.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


# --- the report -------------------------------------------------------------------------------------------------------


def report(out: Path) -> str:
    """Writes the report from the measurements and returns the page."""
    found = summary(read_entries(out))
    page = as_markdown(found)
    (out / "cpu_candidates.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (out / "cpu_candidates.md").write_text(page, encoding="utf-8")
    return page


def summary(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians by candidate, and the ratios of their speed to that of `now` within rounds."""
    rounds: dict[int, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        rounds.setdefault(entry["round"], {})[entry["candidate"]] = entry
    found = {}
    for name in CANDIDATES:
        own = [measured[name] for measured in rounds.values() if name in measured]
        pairs = [(measured["now"], measured[name]) for measured in rounds.values() if {"now", name} <= set(measured)]
        if own:
            found[name] = {
                "rounds": len(own),
                "ms_per_update": median(1000 * entry["seconds"] / entry["updates"] for entry in own),
                "real_tokens_per_second": median(entry["real_tokens"] / entry["seconds"] for entry in own),
                "computed_per_real": median(entry["computed_tokens"] / entry["real_tokens"] for entry in own),
                "preparing_seconds": median(entry["preparing_seconds"] for entry in own),
                "faster": sorted(one["seconds"] / other["seconds"] for one, other in pairs),
                "parts_ms": {part: median(1000 * e["parts"][part] / e["updates"] for e in own) for part in PARTS},
                **{
                    key: median(entry[key] for entry in own)
                    for key in ("assembling_seconds", "all_rows_seconds", "largest_difference")
                    if key in own[0]
                },
            }
    latest = entries[-1] if entries else None
    return {
        "candidates": found,
        "setting": latest["setting"] if latest else None,
        "commands": sorted({entry["command"] for entry in entries}),
        "machines": sorted(
            {machine_line({**e["machine"], "machine.threads": str(e["setting"]["threads"])}) for e in entries}
        ),
    }


def as_markdown(found: Mapping[str, Any]) -> str:
    """The tables, and where they come from."""
    lines = ["# Candidates for more speed on a CPU", ""]
    candidates = found["candidates"]
    if not candidates:
        return "\n".join([*lines, "No round is measured yet: `python experiments/bench/cpu_candidates.py`.", ""])
    setting = found["setting"]
    lines += [
        f"Medians over rounds; ratios are taken within each round. {setting['data'].capitalize()} data, encoder "
        f"{setting['encoder']}, {setting['batch_size']} examples an update, fp32, {setting['threads']} thread(s), "
        f"{setting['updates']} updates after {setting['warmup']}. A candidate is worth keeping if it is faster in "
        "every round.",
        "",
        "| candidate | ms per update | real tokens/s | times as fast as now (least to most) | computed/real tokens "
        "| s to prepare | rounds |",
        "|---|---|---|---|---|---|---|",
        *(_line(name, own) for name, own in candidates.items()),
        "",
        f"| ms of an update | {' | '.join(PARTS)} |",
        f"|---|{'---|' * len(PARTS)}",
        *(
            " | ".join([f"| {name}", *(f"{own['parts_ms'][part]:.1f}" for part in PARTS)]) + " |"
            for name, own in candidates.items()
        ),
        "",
    ]
    if "now" in candidates:
        own = candidates["now"]
        milliseconds = 1000 * own["assembling_seconds"]
        share = milliseconds / own["ms_per_update"]
        lines += [f"Assembling a batch from the cache: {milliseconds:.2f} ms, {share:.2%} of an update.", ""]
    if "lazy_rows" in candidates:
        own = candidates["lazy_rows"]
        lines += [
            f"`lazy_rows`: largest difference of a weight from dense AdamW with the same gradients "
            f"{own['largest_difference']:.1e}; making up for all rows, as before each evaluation, takes "
            f"{own['all_rows_seconds']:.2f} s.",
            "",
        ]
    lines += [*(f"- `{command}`" for command in found["commands"]), *(f"- {line}" for line in found["machines"])]
    return "\n".join(lines) + "\n"


def _line(name: str, own: Mapping[str, Any]) -> str:
    faster = own["faster"]
    span = f"{median(faster):.3f} ({faster[0]:.3f} to {faster[-1]:.3f})" if faster else "not measured"
    return (
        f"| {name} | {own['ms_per_update']:.0f} | {own['real_tokens_per_second']:.0f} | {span} "
        f"| {own['computed_per_real']:.3f} | {own['preparing_seconds']:.1f} | {own['rounds']} |"
    )


if __name__ == "__main__":
    main(sys.argv[1:])

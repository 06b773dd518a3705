"""The report of the throughput benchmark: ratios, page and plot, from nothing but the measured rounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine_line

Entry = Mapping[str, Any]
Rounds = dict[int, dict[str, Entry]]
"""What was measured, by round and contestant."""

TARGETS = {
    "padded_per_real": "≤ 1.00",
    "ours_vs_bare": "≥ 0.97",
    "ours_vs_tasknet_default": "≥ 5.0",
    "ours_vs_tasknet_best": "≥ 2.5",
    "ours_vs_hf_best": "≥ 1.3",
    "ours_ner_vs_edsnlp": "≥ 1.0",
    "gemm_share": "≥ 0.55",
    "tasks32_vs_2": "≤ 1.05",
    "two_processes": "≥ 1.4",
    "packed_random_vs_sorted_padded": "≥ 1.0",
    "mixed_vs_single": "≥ 0.95",
    "rank_balance": "≤ 1.1",
    "gpu_ours_vs_hf_best_32": "≥ 10",
    "gpu_ours_vs_hf_best_128": "≥ 5",
    "gpu_ours_vs_bare_graph": "≥ 0.8",
    "gpu_tokens_per_second_32": "≥ 100000",
    "gpu_mfu_128": "≥ 0",
}
MEANING = {
    "padded_per_real": "tokens that enter linear layers / real tokens, ours at defaults",
    "ours_vs_bare": "real tokens/s: ours at defaults / a bare loop over the same batches, ready in memory",
    "ours_vs_tasknet_default": "real tokens/s: ours at defaults / tasknet at its defaults",
    "ours_vs_tasknet_best": "real tokens/s: ours at defaults / tasknet at its best",
    "ours_vs_hf_best": "real tokens/s: ours at defaults / transformers.Trainer at its best, one task after another",
    "ours_ner_vs_edsnlp": "real tokens/s on the NER tasks, in fp32: ours / EDS-NLP's trainer, one task after another",
    "gemm_share": "model FLOP/s of ours at defaults / the faster GEMM peak of fp32 and bf16",
    "tasks32_vs_2": "seconds per update: 32 tasks / 2 tasks, batches of the same shape",
    "two_processes": "real tokens/s: two processes of one thread / one, same global batch; the better of with and "
    "without compressed gradients",
    "packed_random_vs_sorted_padded": "real tokens/s: a bare loop over our random batches / over batches of similar "
    "length, padded to their longest text",
    "mixed_vs_single": "real tokens/s: ours with all tasks in every step / with one task per step",
    "rank_balance": "tokens of the rank with most / mean of two ranks with 32 examples each; the worst full batch of a "
    "pass",
    "gpu_ours_vs_hf_best_32": "on a GPU, BERT-base size in bf16, batch 32, real tokens/s: ours / transformers.Trainer",
    "gpu_ours_vs_hf_best_128": "the same with batch 128",
    "gpu_ours_vs_bare_graph": "on a GPU, real tokens/s: ours / a bare loop that replays each update as one CUDA graph",
    "gpu_tokens_per_second_32": "on a GPU, real tokens/s of ours at batch 32",
    "gpu_mfu_128": "on a GPU, model FLOP/s of ours at batch 128 / the device's dense bf16 peak by data sheet",
}
GRAPHS = "_graphs"
"""Ending of the steps and ratios of training with CUDA graphs."""

SHOWN = (
    *("ours", "ours_fp32", "ours_bf16", "ours_compiled", "ours_mixed", "bare", "sorted_padded"),
    *("hf_default", "hf_best", "tasknet_default", "tasknet_best", "ours_ner", "edsnlp"),
)
SCALING = ("tasks_2", "tasks_8", "tasks_32", "processes_1", "processes_2", "processes_2_compressed")
ROWS = ("rows_10000", "rows_100000", "rows_1000000")

FORMULA = (
    "Model FLOP/s: (6 N + 12 L H T) per real token, forward and backward, with N the encoder's parameters without its "
    "embedding tables, L layers, H hidden size and T the real tokens of the token's own example (Chowdhery et al. "
    '2022, "PaLM", appendix B). GEMM peak: the best of four shapes of `torch.nn.functional.linear`, three of them the '
    "encoder's."
)


def report(out: Path) -> str:
    """Writes bench.json, bench.md and bench.png from OUT/bench.jsonl and OUT/gpu.jsonl, and returns the page."""
    found = summary(*(read_lines(out / name) for name in ("bench.jsonl", "gpu.jsonl")))
    page = as_markdown(found)
    (out / "bench.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (out / "bench.md").write_text(page, encoding="utf-8")
    if found["contestants"]:
        plot(found, out / "bench.png")
    return page


def read_lines(path: Path) -> list[Entry]:
    """The content of a file of JSON lines; empty without the file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


# --- figures ----------------------------------------------------------------------------------------------------------


def summary(entries: Sequence[Entry], gpu: Sequence[Entry] = ()) -> dict[str, Any]:
    """The content of bench.json. Of a contestant that was tried twice in a round, the later try counts.

    Args:
        entries: Measurements of `throughput.py`.
        gpu: Steps of `gpu.py`.
    """
    rounds: Rounds = {}
    for entry in entries:
        rounds.setdefault(entry["round"], {})[entry["contestant"]] = entry
    latest = [entry for own in rounds.values() for entry in own.values()]
    common = ("setting", "command", "machine")
    values = ratios_by_round(rounds)
    missing = {e["contestant"]: e["unavailable"] for e in latest if "unavailable" in e}
    spread = {name: {"median": median(own), "min": min(own), "max": max(own)} for name, own in values.items() if own}
    on_gpu = gpu_ratios(gpu)
    medians = {name: own["median"] for name, own in spread.items()} | on_gpu
    return {
        "ratios": {name: medians.get(name) for name in TARGETS},
        "with_graphs": {name: value for name, value in on_gpu.items() if name.endswith(GRAPHS)},
        "spread": {name: {**own, "rounds": len(values[name])} for name, own in spread.items()},
        "unavailable": missing,
        "contestants": figures_by_contestant(rounds),
        "commands": sorted({entry["command"] for entry in latest}),
        "machines": sorted(
            {machine_line({**e["machine"], "machine.threads": str(e["setting"]["threads"])}) for e in latest}
        ),
        "commits": sorted({commit_of(e["machine"]) for e in latest}),
        "edsnlp": sorted({entry["packages"] for entry in latest if "packages" in entry}),
        "setting": latest[-1]["setting"] if latest else None,
        "rounds": [{key: entry[key] for key in entry if key not in common} for entry in latest],
    }


def commit_of(machine: Mapping[str, str]) -> str:
    """The commit that was measured, and whether the working copy differed from it."""
    changed = " (with changes in the working copy)" if machine.get("git.biomtl.dirty") == "true" else ""
    return f"{machine.get('git.biomtl.commit', 'unknown')}{changed}"


def ratios_by_round(rounds: Rounds) -> dict[str, list[float]]:
    """Each ratio within each round that measured both sides, and the variants that two of them are made of."""
    found = {
        "padded_per_real": [e["padded_tokens"] / e["real_tokens"] for (e,) in together(rounds, "ours")],
        "ours_vs_bare": compared(rounds, rate, "ours", "bare"),
        "ours_vs_tasknet_default": compared(rounds, rate, "ours", "tasknet_default"),
        "ours_vs_tasknet_best": compared(rounds, rate, "ours", "tasknet_best"),
        "ours_vs_hf_best": compared(rounds, rate, "ours", "hf_best"),
        "ours_ner_vs_edsnlp": compared(rounds, rate, "ours_ner", "edsnlp"),
        "packed_random_vs_sorted_padded": compared(rounds, rate, "bare", "sorted_padded"),
        "mixed_vs_single": compared(rounds, rate, "ours_mixed", "ours"),
        "rank_balance": [e["rank_balance"] for (e,) in together(rounds, "rank_balance")],
        "tasks32_vs_2": compared(rounds, step_seconds, "tasks_32", "tasks_2"),
        "two_processes_plain": compared(rounds, rate, "processes_2", "processes_1"),
        "two_processes_compressed": compared(rounds, rate, "processes_2_compressed", "processes_1"),
        "evaluation_vs_training": [
            e["evaluation_seconds"] / e["training_seconds"] for (e,) in together(rounds, "evaluation")
        ],
    }
    for precision in ("fp32", "bf16"):
        found[f"gemm_share_{precision}"] = [
            model_flops(own) / own["seconds"] / peak["flops"][precision]
            for own, peak in together(rounds, "ours", "gemm")
        ]
    found["gemm_share"] = [min(pair) for pair in zip(found["gemm_share_fp32"], found["gemm_share_bf16"], strict=True)]
    variants = [own for own in (found["two_processes_plain"], found["two_processes_compressed"]) if own]
    found["two_processes"] = max(variants, key=median) if variants else []
    return found


def gpu_ratios(steps: Sequence[Entry]) -> dict[str, float]:
    """The ratios from the steps of `gpu.py`, each from the latest run on a GPU that measured both sides.

    Ours is what training does by default, which is without CUDA graphs until a GPU has verified them; keys that end in
    `GRAPHS` are of training with them.

    >>> run = {"run": "2026-01-01", "on": "cuda", "size": "base"}
    >>> steps = [{"step": "ours_32", "real_tokens_per_second": 90.0}, {"step": "hf_eager_32", "error": "out of memory"},
    ...          {"step": "hf_sdpa_32", "real_tokens_per_second": 9.0},
    ...          {"step": "bare_graphs_32", "real_tokens_per_second": 100.0}]
    >>> gpu_ratios([step | run for step in steps])
    {'gpu_tokens_per_second_32': 90.0, 'gpu_ours_vs_hf_best_32': 10.0, 'gpu_ours_vs_bare_graph': 0.9}
    """
    runs: dict[str, dict[str, Entry]] = {}
    for step in steps:
        if (step["on"], step["size"]) == ("cuda", "base"):
            runs.setdefault(step["run"], {})[step["step"]] = step
    found: dict[str, float] = {}
    for run in runs.values():
        rates = {name: step["real_tokens_per_second"] for name, step in run.items() if "real_tokens_per_second" in step}
        for suffix in ("", GRAPHS):
            ours = {number: f"ours{suffix}_{number}" for number in (32, 128)}
            if ours[32] in rates:
                found[f"gpu_tokens_per_second_32{suffix}"] = rates[ours[32]]
            for name, own, others in (
                ("gpu_ours_vs_hf_best_32", ours[32], ("hf_sdpa_32", "hf_eager_32")),
                ("gpu_ours_vs_hf_best_128", ours[128], ("hf_sdpa_128", "hf_eager_128")),
                ("gpu_ours_vs_bare_graph", ours[32], ("bare_graphs_32",)),
            ):
                measured = [rates[other] for other in others if other in rates]
                if own in rates and measured:
                    found[name + suffix] = rates[own] / max(measured)
            if "mfu" in run.get(ours[128], {}):
                found[f"gpu_mfu_128{suffix}"] = run[ours[128]]["mfu"]
    return found


def together(rounds: Rounds, *names: str) -> list[tuple[Entry, ...]]:
    """What some contestants measured in the rounds that have all of them."""
    return [
        tuple(own[name] for name in names)
        for own in rounds.values()
        if all(name in own and "unavailable" not in own[name] for name in names)
    ]


def compared(rounds: Rounds, value: Callable[[Entry], float], over: str, under: str) -> list[float]:
    """One contestant's value over another's, within each round."""
    return [value(one) / value(other) for one, other in together(rounds, over, under)]


def rate(entry: Entry) -> float:
    """Real tokens per second."""
    return float(entry["real_tokens"] / entry["seconds"])


def step_seconds(entry: Entry) -> float:
    """Seconds per update."""
    return float(entry["seconds"] / entry["updates"])


def model_flops(entry: Entry) -> float:
    """Operations of the window, see FORMULA; `squared_lengths` is the sum of T over all real tokens.

    >>> model_flops({"parameters": 10, "real_tokens": 3, "layers": 2, "hidden_size": 4, "squared_lengths": 5})
    660.0
    """
    attention = 12 * entry["layers"] * entry["hidden_size"] * entry["squared_lengths"]
    return float(6 * entry["parameters"] * entry["real_tokens"] + attention)


FIGURES: dict[str, Callable[[Entry], float]] = {
    "real_tokens_per_second": rate,
    "examples_per_second": lambda entry: entry["examples"] / entry["seconds"],
    "padded_per_real": lambda entry: entry["padded_tokens"] / entry["real_tokens"],
    "seconds_per_update": step_seconds,
    "peak_rss_mib": lambda entry: entry["peak_rss_mib"],
    "rss_anon_mib": lambda entry: entry["rss_anon_mib"],
    "seconds_to_first_step": lambda entry: entry["to_first_step"],
}


def figures_by_contestant(rounds: Rounds) -> dict[str, dict[str, Any]]:
    """Medians over the rounds, with the least and the most of the rate."""
    found = {}
    for name in (*SHOWN, *SCALING, *ROWS):
        own = [entry for (entry,) in together(rounds, name)]
        if own:
            rates = [rate(entry) for entry in own]
            found[name] = {
                "rounds": len(own),
                "precision": own[-1]["precision"],
                "rate_min": min(rates),
                "rate_max": max(rates),
                **{figure: median(value(entry) for entry in own) for figure, value in FIGURES.items()},
            }
    return found


# --- page and plot ----------------------------------------------------------------------------------------------------


def as_markdown(found: Mapping[str, Any]) -> str:
    """The tables, and where and how they came about."""
    lines = ["# Throughput", ""]
    if not found["contestants"]:
        return "\n".join([*lines, "No round is measured yet: `make bench`.", ""])
    setting = found["setting"]
    lines += [
        "Median over rounds (least to most); a ratio is taken within each round, so it is not that of two medians. "
        f"{setting['data'].capitalize()} data, encoder {setting['encoder']}, "
        f"at most {setting['examples']} training examples a task, {setting['batch_size']} examples an update, "
        f"max_length {setting['max_length']}, {setting['threads']} thread(s), {setting['updates']} updates after "
        f"{setting['warmup']} of warm-up; the seed is the round's number. "
        f"Precision at defaults and at best, chosen once by a short timing: {setting['precision']}.",
        "",
        "| key | figure | to reach | measured | least to most | rounds |",
        "|---|---|---|---|---|---|",
        *(_ratio_line(key, found) for key in TARGETS),
        "",
        *(
            f"{name.removesuffix(GRAPHS)} with CUDA graphs: {value:.4g}\n"
            for name, value in found["with_graphs"].items()
        ),
        *_variants(found["spread"]),
        "",
        FORMULA,
        "",
        "| contestant | precision | real tokens/s | examples/s | padded/real | peak RSS, MiB "
        "| s to first step | rounds |",
        "|---|---|---|---|---|---|---|---|",
        *(_contestant_line(name, found["contestants"][name]) for name in SHOWN if name in found["contestants"]),
        "",
        *(f"{name} is unavailable: {reason}\n" for name, reason in found["unavailable"].items()),
        "The other frameworks read examples that ours has encoded, so their start holds no tokenising of their own; "
        "EDS-NLP reads sentences.",
        *(f"EDS-NLP is in an environment of its own: {packages}." for packages in found["edsnlp"]),
        "",
        "![real tokens per second](bench.png)",
        "",
        "| scaling | ms per update | real tokens/s | rounds |",
        "|---|---|---|---|",
        *(_scaling_line(name, found["contestants"][name]) for name in SCALING if name in found["contestants"]),
        "",
        "| rows of training | RssAnon while training, MiB | s to first step |",
        "|---|---|---|",
        *(_rows_line(name, found["contestants"][name]) for name in ROWS if name in found["contestants"]),
        "",
        *(f"- `{command}`" for command in found["commands"]),
        *(f"- {line}" for line in found["machines"]),
        f"- commit {', '.join(found['commits'])}",
    ]
    return "\n".join(lines) + "\n"


def _ratio_line(key: str, found: Mapping[str, Any]) -> str:
    value, own = found["ratios"][key], found["spread"].get(key)
    if value is None:
        return f"| {key} | {MEANING[key]} | {TARGETS[key]} | not measured | | 0 |"
    span = "" if own is None else f"{own['min']:.3f} to {own['max']:.3f}"
    verdict, rounds = "" if reached(key, value) else ", missed", 1 if own is None else own["rounds"]
    return f"| {key} | {MEANING[key]} | {TARGETS[key]} | {value:.3f}{verdict} | {span} | {rounds} |"


def reached(key: str, value: float) -> bool:
    """Whether a ratio is as good as it should be.

    >>> reached("ours_vs_bare", 0.97), reached("tasks32_vs_2", 1.06)
    (True, False)
    """
    sign, bound = TARGETS[key].split()
    return value >= float(bound) if sign == "≥" else value <= float(bound)


def _variants(spread: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = {
        "gemm_share_fp32": "Share of the fp32 GEMM peak",
        "gemm_share_bf16": "of the bf16 one",
        "two_processes_plain": "Two processes without compressed gradients",
        "two_processes_compressed": "with gradients in bf16",
        "evaluation_vs_training": "An evaluation of all examples, in parts of a training pass over them (at most 0.4)",
    }
    return ["; ".join(f"{text}: {spread[key]['median']:.3f}" for key, text in names.items() if key in spread) + "."]


def _contestant_line(name: str, own: Mapping[str, Any]) -> str:
    span = f"{own['rate_min']:.0f} to {own['rate_max']:.0f}"
    return (
        f"| {name} | {own['precision']} | {own['real_tokens_per_second']:.0f} ({span}) "
        f"| {own['examples_per_second']:.1f} | {own['padded_per_real']:.3f} | {own['peak_rss_mib']:.0f} "
        f"| {own['seconds_to_first_step']:.1f} | {own['rounds']} |"
    )


def _scaling_line(name: str, own: Mapping[str, Any]) -> str:
    milliseconds = 1000 * own["seconds_per_update"]
    return f"| {name} | {milliseconds:.0f} | {own['real_tokens_per_second']:.0f} | {own['rounds']} |"


def _rows_line(name: str, own: Mapping[str, Any]) -> str:
    return f"| {name.removeprefix('rows_')} | {own['rss_anon_mib']:.0f} | {own['seconds_to_first_step']:.1f} |"


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Bars of real tokens per second, with the least and the most of the rounds."""
    from matplotlib.figure import Figure

    own = {name: found["contestants"][name] for name in SHOWN if name in found["contestants"]}
    middles = [figures["real_tokens_per_second"] for figures in own.values()]
    below = [figures["real_tokens_per_second"] - figures["rate_min"] for figures in own.values()]
    above = [figures["rate_max"] - figures["real_tokens_per_second"] for figures in own.values()]
    figure = Figure(figsize=(8, 0.5 * len(own) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(own), middles, xerr=[below, above], color="#4477aa", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("real tokens per second: median of the rounds, least to most")
    figure.savefig(path, dpi=120)

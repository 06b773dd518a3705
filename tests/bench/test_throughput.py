"""The throughput benchmark: its ratios by hand, and one round of real processes with a tiny encoder."""

from __future__ import annotations

import doctest
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_data
import bench_page
import contestants
import edsnlp_environment
import edsnlp_training
import numpy as np
import other_frameworks
import pytest
import throughput
import torch
from meter import Meter

from mtl.encoder.packing import Layout

SETTING = {
    "data": "public",
    "examples": 1500,
    "max_length": 128,
    "batch_size": 32,
    "updates": 4,
    "warmup": 2,
    "threads": 2,
    "encoder": "minilm-l6",
    "precision": "bf16-mixed",
}
MACHINE = {
    "version.torch": "2.13.0",
    "machine.cpus": "2",
    "machine.processor": "a processor",
    "machine.memory": "8 GiB",
    "git.biomtl.commit": "abc",
    "date": "2026-11-22",
}


def entry(number: int, name: str, rate: float, **fields: Any) -> dict[str, Any]:
    """What a contestant measured that read 1000 real tokens at this rate, in 4 updates."""
    figures = {
        "precision": "bf16-mixed",
        "seconds": 1000 / rate,
        "updates": 4,
        "examples": 100,
        "real_tokens": 1000,
        "padded_tokens": 1040,
        "squared_lengths": 50_000,
        "parameters": 1000,
        "layers": 2,
        "hidden_size": 10,
        "peak_rss_mib": 500.0,
        "rss_anon_mib": 300.0,
        "to_first_step": 5.0,
    }
    common = {"setting": SETTING, "command": "python throughput.py", "machine": MACHINE}
    return {"round": number, "contestant": name, **figures, **common, **fields}


def gemm(number: int, fp32: float, bf16: float) -> dict[str, Any]:
    common = {"setting": SETTING, "command": "python throughput.py", "machine": MACHINE}
    return {"round": number, "contestant": "gemm", "flops": {"fp32": fp32, "bf16": bf16}, **common}


def test_a_ratio_is_the_median_of_the_ratios_within_rounds_and_not_of_all_rates() -> None:
    rates = [(4000, 1000), (2000, 400), (3000, 1500)]  # within rounds 4, 5 and 2; the medians' ratio would be 3
    entries = [
        entry(number, name, rate)
        for number, pair in enumerate(rates)
        for name, rate in zip(("ours", "hf_best"), pair, strict=True)
    ]
    found = bench_page.summary(entries)
    assert found["ratios"]["ours_vs_hf_best"] == pytest.approx(4.0)
    assert found["spread"]["ours_vs_hf_best"] == pytest.approx({"median": 4.0, "min": 2.0, "max": 5.0, "rounds": 3})


def test_the_keys_of_the_ratios_are_those_that_others_rely_on() -> None:
    keys = (
        "padded_per_real ours_vs_bare ours_vs_tasknet_default ours_vs_tasknet_best ours_vs_hf_best ours_ner_vs_edsnlp "
    )
    keys += "gemm_share tasks32_vs_2 two_processes packed_random_vs_sorted_padded mixed_vs_single rank_balance "
    keys += "gpu_ours_vs_hf_best_32 gpu_ours_vs_hf_best_128 gpu_ours_vs_bare_graph gpu_tokens_per_second_32 gpu_mfu_128"
    assert list(bench_page.summary([])["ratios"]) == keys.split()
    assert set(bench_page.summary([])["ratios"].values()) == {None}
    assert bench_page.summary([])["with_graphs"] == {}
    assert set(bench_page.MEANING) == set(bench_page.TARGETS)


def gpu_step(step: str, rate: float, run: str, **fields: str) -> dict[str, Any]:
    return {"step": step, "real_tokens_per_second": rate, "run": run, "on": "cuda", "size": "base", **fields}


def test_figures_of_a_gpu_are_compared_within_one_run_on_a_gpu() -> None:
    steps = [
        *(gpu_step("ours_32", 10.0, "first"), gpu_step("hf_sdpa_32", 5.0, "first")),
        *(gpu_step("ours_32", 900.0, "second"), gpu_step("ours_graphs_32", 1800.0, "second")),
        gpu_step("bare_graphs_32", 2000.0, "second"),
        *(gpu_step("ours_32", 1.0, "third", on="cpu"), gpu_step("hf_sdpa_32", 1.0, "third", on="cpu")),
        *(gpu_step("ours_32", 1.0, "fourth", size="tiny"), gpu_step("hf_sdpa_32", 1.0, "fourth", size="tiny")),
    ]
    found = bench_page.summary([entry(0, "ours", 2000)], steps)
    measured = {name: value for name, value in found["ratios"].items() if name.startswith("gpu_") and value}
    assert measured == {
        "gpu_ours_vs_hf_best_32": 2.0,
        "gpu_ours_vs_bare_graph": 0.45,
        "gpu_tokens_per_second_32": 900.0,
    }
    assert found["with_graphs"] == {"gpu_tokens_per_second_32_graphs": 1800.0, "gpu_ours_vs_bare_graph_graphs": 0.9}
    assert "| 0.450, missed |" in bench_page.as_markdown(found)


def test_every_ratio_is_as_computed_by_hand() -> None:
    entries = [
        *(entry(0, "ours", 2000), entry(0, "bare", 2500), entry(0, "tasknet_default", 400)),
        *(entry(0, "tasknet_best", 1000), entry(0, "hf_best", 1600), gemm(0, 50e6, 80e6)),
        *(entry(0, "ours_ner", 1500), entry(0, "edsnlp", 500)),
        *(entry(0, "tasks_2", 1000), entry(0, "tasks_32", 800)),  # 1 and 1.25 s for 4 updates
        *(entry(0, "sorted_padded", 2000), entry(0, "ours_mixed", 1900)),
        {"round": 0, "contestant": "rank_balance", "rank_balance": 1.05, "setting": SETTING, "machine": MACHINE}
        | {"command": "python throughput.py"},
        *(entry(0, "processes_1", 1000), entry(0, "processes_2", 1300), entry(0, "processes_2_compressed", 1200)),
    ]
    found = bench_page.summary(entries)
    # 6 x 1000 parameters x 1000 tokens + 12 x 2 layers x 10 units x 50000 squared lengths = 18e6, in 0.5 s.
    measured = {name: value for name, value in found["ratios"].items() if not name.startswith("gpu_")}
    assert {value for name, value in found["ratios"].items() if name not in measured} == {None}
    assert measured == pytest.approx(
        {
            "padded_per_real": 1.04,
            "ours_vs_bare": 0.8,
            "ours_vs_tasknet_default": 5.0,
            "ours_vs_tasknet_best": 2.0,
            "ours_vs_hf_best": 1.25,
            "ours_ner_vs_edsnlp": 3.0,
            "gemm_share": 36 / 80,
            "tasks32_vs_2": 1.25,
            "two_processes": 1.3,
            "packed_random_vs_sorted_padded": 1.25,
            "mixed_vs_single": 0.95,
            "rank_balance": 1.05,
        }
    )
    assert found["spread"]["gemm_share_fp32"]["median"] == pytest.approx(36 / 50)
    assert found["spread"]["two_processes_compressed"]["median"] == pytest.approx(1.2)


def test_a_round_without_both_sides_does_not_count_and_a_later_try_takes_the_place_of_a_failed_one() -> None:
    failed = {**entry(1, "hf_best", 1), "unavailable": "ImportError: accelerate"}
    entries = [entry(0, "ours", 2000), entry(0, "hf_best", 1000), entry(1, "ours", 9000), failed]
    found = bench_page.summary(entries)
    assert found["spread"]["ours_vs_hf_best"]["rounds"] == 1
    assert found["unavailable"] == {"hf_best": "ImportError: accelerate"}
    again = bench_page.summary([*entries, entry(1, "hf_best", 3000)])
    assert again["spread"]["ours_vs_hf_best"]["max"] == pytest.approx(3.0)
    assert again["unavailable"] == {}
    assert len(again["rounds"]) == 4


def test_the_report_names_what_is_missed_what_is_not_measured_and_who_is_unavailable(tmp_path: Path) -> None:
    entries = [
        entry(0, "ours", 2000),
        entry(0, "bare", 2500),
        {**entry(0, "tasknet_best", 1), "unavailable": "ModuleNotFoundError: No module named 'tasknet'"},
    ]
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries), encoding="utf-8")
    page = bench_page.report(tmp_path)
    lines = page.splitlines()
    assert any(line.startswith("| ours_vs_bare ") and "0.800, missed" in line for line in lines)
    assert any(line.startswith("| padded_per_real ") and "1.040, missed" in line for line in lines)
    assert any(line.startswith("| ours_vs_tasknet_best ") and "not measured" in line for line in lines)
    assert "tasknet_best is unavailable: ModuleNotFoundError: No module named 'tasknet'" in lines
    for said in ("a processor", "torch 2.13.0", "2026-11-22", "`python throughput.py`", "commit abc", "2 thread(s)"):
        assert said in page
    assert (tmp_path / "bench.md").read_text(encoding="utf-8") == page
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [(e["round"], e["contestant"]) for e in kept["rounds"]] == [(0, e["contestant"]) for e in entries]


class Encoder(torch.nn.Module):
    def forward(self, attention_mask: torch.Tensor | None = None, layout: Any = None) -> Any:
        return layout if attention_mask is None else attention_mask


def test_the_meter_counts_no_padding_of_a_packed_encoder() -> None:
    encoder, meter = Encoder(), Meter()
    meter.watch(encoder)
    meter.begin(warmup=1, updates=1)
    for lengths in ([9], [2, 5]):  # warm-up and window
        encoder(layout=Layout(lengths))
        meter.update_done()
    found = meter.figures()
    assert (found["examples"], found["real_tokens"], found["padded_tokens"]) == (2, 7, 7)
    assert found["squared_lengths"] == 4 + 25


def test_the_meter_counts_the_window_alone() -> None:
    encoder, meter = Encoder(), Meter()
    meter.watch(encoder)
    masks = [torch.tensor([[1, 1, 1], [1, 0, 0]]), torch.tensor([[1, 1]]), torch.ones(2, 4)]
    for _ in range(2):  # two windows add up
        meter.begin(warmup=1, updates=1)
        for mask in masks:  # warm-up, window, and one after it
            encoder(attention_mask=mask)
            meter.update_done()
    found = meter.figures()
    assert (found["updates"], found["examples"], found["real_tokens"]) == (2, 2, 4)
    assert (found["padded_tokens"], found["squared_lengths"]) == (4, 8)
    assert found["seconds"] > 0
    assert found["to_first_step"] > 0


def test_the_meter_counts_what_a_compiled_encoder_reads() -> None:
    encoder, meter = Encoder(), Meter()
    encoder.compile(backend="eager")
    meter.watch(encoder)
    meter.begin(warmup=1, updates=2)
    for _ in range(3):
        encoder(attention_mask=torch.tensor([[1, 1, 1], [1, 0, 0]]))
        meter.update_done()
    found = meter.figures()
    assert (found["examples"], found["real_tokens"], found["padded_tokens"]) == (4, 8, 12)


def test_groups_of_transformers_hold_every_example_once_and_come_in_random_order() -> None:
    lengths = list(range(1, 101))
    batches = other_frameworks.grouped(lengths, 4, 25, seed=0)
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    spans = [max(batch) - min(batch) for batch in batches]
    assert np.mean(spans) < 25  # random batches of 4 of 100 span about 60
    assert batches != sorted(batches, key=lambda batch: -lengths[batch[0]])
    assert (
        other_frameworks.grouped(lengths, 4, 25, seed=0) == batches != other_frameworks.grouped(lengths, 4, 25, seed=1)
    )


def test_documents_are_drawn_whole_until_there_are_enough_examples() -> None:
    rows = SimpleNamespace(documents=lambda: np.array(["a", "a", "b", "c", "c", "c"]))
    split: Any = SimpleNamespace(rows=rows, example_rows=np.array([0, 1, 1, 2, 3, 4, 5]))  # 3 of a, 1 of b, 3 of c
    sizes = {"a": 3, "b": 1, "c": 3}
    for examples in range(1, 8):
        kept = bench_data.draw_documents(split, examples, "gad")
        assert sum(sizes[name] for name in kept) >= examples
        assert any(sum(sizes[name] for name in kept - {last}) < examples for last in kept)


def test_examples_in_the_docstrings_hold() -> None:
    for module, number in ((other_frameworks, 2), (bench_page, 5)):
        result = doctest.testmod(module)
        assert (result.failed, result.attempted) == (0, number)


@pytest.fixture
def tiny_setting(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> bench_data.Setting:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    return bench_data.Setting("synthetic", 40, batch_size=4, encoder=str(tiny_encoder("bert")))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for a module that only collects batches
def test_random_and_sorted_batches_are_of_the_same_tasks_and_the_ranks_are_balanced(
    tmp_path: Path, tiny_setting: bench_data.Setting
) -> None:
    words = {"mixture": bench_data.prepare(tiny_setting, tmp_path), "warmup": 1, "updates": 6, "precision": "32-true"}
    options: Any = SimpleNamespace(seed=0, **words)
    random, padded = contestants.bare(options, Meter()), contestants.sorted_padded(options, Meter())
    assert random["updates"] == padded["updates"] == 6
    assert random["real_tokens"] == random["padded_tokens"]
    assert padded["real_tokens"] < padded["padded_tokens"] < 1.5 * padded["real_tokens"]
    assert padded["squared_lengths"] > padded["real_tokens"]
    assert 1 <= contestants.rank_balance(options, Meter())["rank_balance"] < 1.2


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for a module that only collects batches
def test_edsnlp_gets_the_rows_and_as_many_updates_of_each_ner_task_as_ours(
    tmp_path: Path, tiny_setting: bench_data.Setting
) -> None:
    mixture = bench_data.prepare_ner(tiny_setting, tmp_path)
    # Instead of EDS-NLP's Python, a program that writes what it is given.
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s" "$2" > "$3"\n', encoding="utf-8")
    python.chmod(0o755)
    words = {"mixture": mixture, "warmup": 4, "updates": 6, "seed": 3, "edsnlp": python.parent.parent}
    job = edsnlp_training.Job(**other_frameworks.edsnlp(SimpleNamespace(**words), Meter()))  # type: ignore[arg-type]
    assert (job.updates, job.labels) == ({"mentions": 6}, {"mentions": ["Drug", "Condition"]})
    assert (job.warmup, job.batch_size, job.max_length, job.seed) == (4, 4, 128, 3)
    rows = edsnlp_training.read_rows(Path(job.rows) / "mentions" / "train.jsonl")
    assert len(rows) >= 40
    assert all(row["text"][start:end] for row in rows for e in row["entities"] for start, end in e["spans"])
    assert (Path(job.encoder) / "config.json").exists()


def test_a_folder_that_is_no_environment_is_refused_and_a_failed_installation_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="bin/python"):
        edsnlp_environment.edsnlp_python(tmp_path)

    def make(folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        raise RuntimeError("pip cannot install it")

    monkeypatch.setattr(edsnlp_environment, "make", make)
    with pytest.raises(RuntimeError, match="pip cannot"):
        edsnlp_environment.edsnlp_python(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.skipif("EDSNLP" not in os.environ, reason="EDSNLP does not name an environment that has edsnlp")
def test_edsnlp_is_measured_beside_ours(tmp_path: Path, tiny_encoder: Callable[[str], Path]) -> None:
    out = tmp_path / "results"
    words = ["--rounds", "1", "--data", "synthetic", "--examples", "40", "--updates", "2", "--warmup", "2"]
    words += ["--threads", "1", "--encoder", str(tiny_encoder("bert")), "--edsnlp", os.environ["EDSNLP"]]
    words += ["--work", str(tmp_path / "work"), "--out", str(out), "--only", "ours_ner", "edsnlp"]
    throughput.main(words)
    ours, theirs = throughput.read_entries(out)
    assert theirs["updates"] == ours["updates"] == 2
    assert theirs["examples"] == ours["examples"] == 64
    assert theirs["real_tokens"] == pytest.approx(ours["real_tokens"], rel=0.3)
    found = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    assert found["ratios"]["ours_ner_vs_edsnlp"] > 0
    assert "edsnlp 0." in found["edsnlp"][0]


@pytest.mark.slow
@pytest.mark.soak
def test_a_round_of_real_processes_is_measured_kept_and_not_repeated(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    words = ["--rounds", "1", "--data", "synthetic", "--examples", "20", "--updates", "2", "--warmup", "1"]
    words += ["--threads", "1", "--encoder", str(tiny_encoder("bert"))]
    words += ["--work", str(tmp_path / "work"), "--out", str(out), "--only", "ours", "bare", "hf_best"]
    throughput.main(words)
    entries = throughput.read_entries(out)
    assert [e["contestant"] for e in entries] == ["ours", "bare", "hf_best"]
    assert not any("unavailable" in e for e in entries)
    ours, bare, hf = entries
    # The bare loop reads the very batches of ours, and the other trainer as many updates of each task.
    for name in ("updates", "examples", "real_tokens", "padded_tokens", "squared_lengths", "parameters"):
        assert ours[name] == bare[name]
    assert hf["updates"] == ours["updates"] == 2
    assert all(e["real_tokens"] <= e["padded_tokens"] and e["seconds"] > 0 for e in entries)
    assert {e["threads"] for e in entries} == {1}
    ratios = json.loads((out / "bench.json").read_text(encoding="utf-8"))["ratios"]
    assert ratios["ours_vs_bare"] == pytest.approx(bare["seconds"] / ours["seconds"])
    assert "ours_vs_bare" in capsys.readouterr().out
    throughput.main(words)
    assert throughput.read_entries(out) == entries
    with pytest.raises(SystemExit, match="another setting"):
        throughput.main([*words, "--updates", "3"])

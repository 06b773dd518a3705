"""The candidates for more speed on a CPU: each computes what the present code does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_data
import cpu_candidates
import lazy_rows
import pytest
import torch
from candidate_training import BUCKET, LazyRows, Now, filled
from contestants import our_batches
from torch import nn

from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_encoder, load_tokenizer


@pytest.mark.parametrize(("rate", "updates"), [(5e-5, 30), (5e-5, 250), (1e-3, 250)])
def test_lazy_rows_are_as_near_to_exact_adamw_as_dense_rows(rate: float, updates: int) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(50, 16)
    nn.init.normal_(table.weight, std=0.1)
    exact = nn.Parameter(table.weight.detach().double())
    lazy = lazy_rows.LazyTable(table, weight_decay=0.01)
    optimizers = [torch.optim.AdamW([weight], lr=rate, weight_decay=0.01) for weight in (table.weight, exact)]
    # Rows 0 to 3 are in every batch, others rarely or once, and 40 to 49 never. Gradients differ in size.
    for update in range(updates):
        now = rate * (1 - update / updates)
        few = [4 + update % 7] if update % 5 == 0 else [11 + (update * update) % 29] if update % 31 == 0 else []
        ids = torch.tensor([0, 1, 2, 3, *few, *few])
        weights = torch.randn(len(ids), 16) * 10.0 ** torch.randint(-9, 0, (len(ids), 1))
        found = lazy(ids)
        assert (found - exact[ids]).abs().max() < 1e-6
        for rows in (found, table(ids), exact[ids]):
            (rows * weights).sum().backward()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = now
            optimizer.step()
            optimizer.zero_grad()
        lazy.step(now)
    lazy.catch_up()
    errors = [float((weight - exact).detach().abs().max()) for weight in (lazy.weight, table.weight)]
    assert errors[0] < min(1e-6, errors[1] + 1e-7)


def test_a_row_that_is_not_caught_up_with_is_off_by_more() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(4, 8)
    lazy = lazy_rows.LazyTable(table, weight_decay=0.01)
    dense = torch.optim.AdamW([table.weight], lr=1e-3, weight_decay=0.01, fused=True)
    for ids in (torch.tensor([0, 1]), torch.tensor([1])):
        for embed in (table, lazy):
            embed(ids).pow(2).sum().backward()
        dense.step()
        lazy.step(1e-3)
        dense.zero_grad()
    assert (lazy.weight[0] - table.weight[0]).abs().max() > 1e-5
    lazy.catch_up()
    assert (lazy.weight - table.weight).abs().max() < 1e-6


@pytest.mark.parametrize("lengths", [[7, 3, 5], [100, 100, 56]])
def test_filling_up_a_batch_changes_no_state(tiny_encoder: Callable[[str], Path], lengths: list[int]) -> None:
    spec = EncoderSpec(name=str(tiny_encoder("bert")))
    encoder = load_encoder(spec, load_tokenizer(spec), seed=0).eval()
    seen: list[int] = []
    encoder.model.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["input_ids"].numel()), with_kwargs=True
    )
    layout = Layout(lengths)
    ids = torch.randint(5, 20, (layout.num_tokens,))
    assert torch.allclose(filled(encoder, ids, layout), encoder(ids, layout), atol=1e-6)
    assert seen == [BUCKET, layout.num_tokens]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning, for a module that only collects batches
def test_a_training_with_lazy_rows_ends_with_the_weights_of_the_present_code(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    setting = bench_data.Setting("synthetic", 20, batch_size=4, encoder=str(tiny_encoder("bert")))
    mixture = load_mixture(bench_data.prepare(setting, tmp_path))
    batches = our_batches(mixture, 6)
    trained = []
    for candidate in (Now(mixture, batches), LazyRows(mixture, batches)):
        for number, batch in enumerate(batches):
            torch.manual_seed(number)  # the same dropout
            candidate.update(batch)
        trained.append(candidate)
    now, lazy = trained
    checks = lazy.checks()
    assert checks["largest_difference"] < 1e-7
    table = now.encoder.token_embeddings.weight
    assert (lazy.table.weight - table).abs().max() < 1e-6
    assert (table - lazy._initial).abs().max() > 1e-5
    others = dict(lazy.module.named_parameters())
    for name, weight in now.module.named_parameters():
        if name in others and not name.endswith("key.bias"):  # whose true gradient is zero
            assert (others[name] - weight).abs().max() < 2e-6, name


def test_a_candidate_is_compared_within_rounds() -> None:
    setting = {"data": "public", "encoder": "minilm-l6", "batch_size": 32, "threads": 2, "updates": 10, "warmup": 5}
    found_on = {
        "date": "2026-11-29",
        "machine.processor": "a processor",
        "machine.cpus": "2",
        "machine.memory": "8 GiB",
    }

    def entry(number: int, name: str, seconds: float, **fields: Any) -> dict[str, Any]:
        parts = dict.fromkeys(cpu_candidates.PARTS, seconds / 4)
        figures = {"seconds": seconds, "updates": 10, "real_tokens": 1000, "computed_tokens": 1100, "parts": parts}
        rest = {"preparing_seconds": 1.0, "setting": setting, "command": "python x", "machine": found_on}
        return {"round": number, "candidate": name, **figures, **rest, **fields}

    entries = [
        *(entry(0, "now", 4.0, assembling_seconds=0.002), entry(0, "compiled", 2.0)),
        *(entry(1, "now", 8.0, assembling_seconds=0.002), entry(1, "compiled", 10.0)),
        entry(2, "compiled", 1.0),  # has no other side
    ]
    found = cpu_candidates.summary(entries)
    assert found["candidates"]["compiled"]["faster"] == [0.8, 2.0]
    assert found["candidates"]["now"]["ms_per_update"] == pytest.approx(600)
    assert found["candidates"]["now"]["parts_ms"]["backward"] == pytest.approx(150)
    page = cpu_candidates.as_markdown(found)
    assert "| 1.400 (0.800 to 2.000) | 1.100 |" in page
    assert "2.00 ms, 0.33% of an update" in page

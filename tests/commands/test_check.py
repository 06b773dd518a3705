"""The plan of `mtl check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands.check import main
from mtl.config.encoder_catalogue import catalogue
from mtl.planning.mixture_check import check
from tests.commands.small_mixtures import SECRET, TAGGING, Write, classified, plan, problems, tagged
from tests.masked_lm_models import masked_lm_folder

# --- the plan -------------------------------------------------------------------------------------------------------


def test_the_plan_says_where_the_weights_of_a_head_come_from(
    write: Write, tmp_path: Path, tiny_encoder: Any, tokenizer: Any
) -> None:
    _, shipped = masked_lm_folder(tmp_path / "shipped", tiny_encoder("bert"), tokenizer)
    task = {"head": "masked_lm", "labels": []}
    path = write(task=task)
    for encoder, first, said in ((shipped, "checkpoint: cls.predictions", "first weights"), (None, "random", "random")):
        problems, plan = check(path, [] if encoder is None else [f"encoder.name={encoder}"])
        assert problems == []
        assert plan["tasks"]["risk"]["first_weights"].startswith(first)
        assert any(said in note for note in plan["tasks"]["risk"]["notes"])


def test_the_plan_counts_rows_labels_steps_and_passes_by_hand(write: Write) -> None:
    made = plan(write(batch_size=3, seed=5))
    assert {key: made[key] for key in ("name", "sampler", "select", "seed", "epochs", "steps")} == {
        "name": "small",
        "sampler": "proportional",
        "select": "mean",
        "seed": 5,
        "epochs": 20,
        "steps": 60,  # 20 passes over 8 rows in batches of 3
    }
    task = made["tasks"]["risk"]
    assert (task["rate"], task["batches"], task["passes"], task["loss_weight"]) == (1.0, 60, 20.0, 1.0)
    assert list(task["splits"]) == ["train", "dev", "test"]
    train = task["splits"]["train"]
    assert train["labels"] == {"low": 4, "high": 4}
    assert (train["read"], train["used"], train["examples"], train["truncated"]) == (8, 8, 8, 0.0)


def test_the_plan_has_the_changes_of_the_curriculum_and_refuses_those_after_the_end(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"tasks.risk.loss_weight": 0.5}
    path = write(batch_size=3, curriculum=[{"from_step": 3, **change}, {"from_step": 11, "tasks.risk.loss_weight": 2}])
    (tmp_path / "c.yaml").write_text("mixture: m.yaml\ntrainer: {max_epochs: 8, accumulate_grad_batches: 2}\n")
    assert plan(tmp_path / "c.yaml")["curriculum"] == [  # an epoch has 3 batches and so 2 updates
        {"from_step": 3, "epoch": 1, "changes": change},
        {"from_step": 11, "epoch": 5, "changes": {"tasks.risk.loss_weight": 2}},
    ]
    assert main(["check", str(path)]) == 0
    assert "from step 11 " in capsys.readouterr().out
    (tmp_path / "c.yaml").write_text("mixture: m.yaml\ntrainer: {max_epochs: 8, max_steps: 11}\n")
    assert [problem.key for problem in problems(tmp_path / "c.yaml")] == ["curriculum.1.from_step"]
    assert main(["check", str(write(curriculum=[{"from_step": 3, "tasks.risk.options.dropout": 0.3}]))]) == 0
    assert "tasks.risk.options.dropout=0.3" in capsys.readouterr().out


def test_the_plan_of_more_epochs_has_more_passes(write: Write) -> None:
    _, made = check(write(batch_size=3), epochs=4)
    assert (made["epochs"], made["steps"], made["tasks"]["risk"]["passes"]) == (4, 12, 4.0)


def test_the_plan_can_be_written_as_json(write: Write) -> None:
    made = plan(write())
    assert json.loads(json.dumps(made)) == made


def test_rates_follow_the_sampler(write: Write) -> None:
    write()
    other = {"head": "classification", "labels": ["low", "high"], "data": {"reader": "jsonl", "path": "risk"}}
    content = yaml.safe_load(write().read_text())
    content["tasks"]["other"] = {**other, "rate": 3}
    content["tasks"]["risk"]["rate"] = 1
    content["sampler"] = {"name": "weighted"}
    path = write().with_name("two.yaml")
    path.write_text(yaml.safe_dump(content))
    made = plan(path)
    assert [made["tasks"][name]["rate"] for name in ("risk", "other")] == pytest.approx([0.25, 0.75])


def test_a_missing_test_split_is_noted_and_never_replaced_by_dev(write: Write) -> None:
    task = plan(write({"risk/test.jsonl": None}))["tasks"]["risk"]
    assert list(task["splits"]) == ["train", "dev"]
    assert len(task["notes"]) == 1


def test_a_row_longer_than_the_maximum_is_kept_and_the_share_is_reported(write: Write) -> None:
    rows = [*classified(3), {"text": "aspirin " * 100, "label": "low"}]
    train = plan(write({"risk/train.jsonl": rows}))["tasks"]["risk"]["splits"]["train"]
    assert (train["used"], train["examples"], train["truncated"]) == (4, 4, 0.25)


def test_windows_of_a_long_text_lose_nothing(write: Write) -> None:
    long = {"text": " ".join(["aspirin"] * 100), "entities": []}
    long["entities"] = [{"id": f"T{n}", "type": "Drug", "spans": [[8 * n, 8 * n + 7]]} for n in range(100)]
    train = plan(write({"risk/train.jsonl": [long]}, task=TAGGING, rows=tagged))["tasks"]["risk"]["splits"]["train"]
    assert (train["used"], train["truncated"], train["labels"]) == (1, 0.0, {"Drug": 100})
    assert train["examples"] > 4  # 100 tokens in windows of 30


def test_rows_read_are_used_unlabelled_skipped_or_crossed(write: Write) -> None:
    lines = [json.dumps(row) for row in classified(5)]
    bad = [f'{{"text": "{SECRET}", "label": "middling"}}', "no json", f'{{"text": "{SECRET}"}}', '{"text": "x"}']
    content = ("\n".join([*lines, *bad]) + "\n").encode() + b'{"text": "\xff", "label": "low"}\n'
    path = write({"risk/train.jsonl": content}, task={"data": {"on_bad_row": "skip"}})
    train = plan(path)["tasks"]["risk"]["splits"]["train"]
    assert {name: train[name] for name in ("read", "used", "unlabelled", "refused", "crossed")} == {
        "read": 10,
        "used": 5,
        "unlabelled": 2,
        "refused": 3,
        "crossed": 0,
    }
    not_json, not_utf8, unknown_label = train["refused_rows"]
    assert not_json.startswith(f"{path.parent}/risk/train.jsonl:7: ")
    assert not_utf8.startswith(f"{path.parent}/risk/train.jsonl:10: ")
    assert "byte 0xff" in not_utf8
    assert unknown_label.startswith("row train-6: ")
    assert "'middling'" in unknown_label


def test_rows_that_cross_splits_are_counted(write: Write) -> None:
    pairs = [(f"c{i}", f"c{j}") for i in range(8) for j in range(i + 1, 8)]
    rows = [{"text": f"x {a} {b}", "label": "low", "meta": {"a": a, "b": b}} for a, b in pairs]
    split = {"by": ["a", "b"], "fractions": {"train": 0.5, "dev": 0.5}}
    path = write({"all/rows.jsonl": rows}, task={"data": {"path": "all/rows.jsonl", "split": split}})
    splits = plan(path)["tasks"]["risk"]["splits"]
    assert [(s["read"], s["used"], s["crossed"]) for s in splits.values()] == [(22, 6, 16), (22, 6, 16)]


def test_rows_that_are_limited_or_excluded_are_counted_and_reported(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"limit": {"train": 6, "test": 1}, "on_bad_row": "skip"}
    rows = [{**row, "document": f"d{n}"} for n, row in enumerate(classified(9))]
    path = write({"risk/train.jsonl": [*rows, "no row"]}, task={"data": data})
    splits = plan(path)["tasks"]["risk"]["splits"]
    assert {s: (c["read"], c["used"], c["limited"], c["excluded"]) for s, c in splits.items()} == {
        "train": (10, 6, 3, 0),
        "dev": (4, 4, 0, 0),
        "test": (4, 1, 3, 0),
    }
    everyone = f"tasks.risk.data.exclude={[row['document'] for row in rows[:4]]}"
    train = plan(path, everyone)["tasks"]["risk"]["splits"]["train"]
    assert train["read"] == sum(train[part] for part in ("used", "refused", "limited", "excluded")) == 10
    assert (train["limited"], train["excluded"]) == (3, 6 - train["used"])
    assert main(["check", str(path), everyone]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "risk: train, test: 3 rows excluded by `limit`" in lines
    assert f"risk: train: {train['excluded']} rows excluded by `exclude` or `leakage`" in lines


def test_windows_line_ends_and_quotes_in_a_tsv_change_nothing(write: Write) -> None:
    plain = 'text\tlabel\n"aspirin" helps\tlow\nthe "risk\thigh\n'
    files = {f"table/{split}.tsv": plain for split in ("train", "dev")}
    task: Any = {"data": {"reader": "table", "path": "table"}}
    first = plan(write(files, task=dict(task)))["tasks"]["risk"]["splits"]["train"]
    assert (first["used"], first["labels"]) == (2, {"low": 1, "high": 1})
    windows = {name: text.replace("\n", "\r\n") for name, text in files.items()}
    second = plan(write(windows, task={"data": {"reader": "table", "path": "table"}}))
    assert second["tasks"]["risk"]["splits"]["train"]["fingerprint"] == first["fingerprint"]


# --- a config of `mtl fit` ------------------------------------------------------------------------------------------


def test_a_config_sets_mixture_seed_and_epochs(write: Write, tmp_path: Path) -> None:
    write(batch_size=3)
    (tmp_path / "c.yaml").write_text("mixture: m.yaml\nseed_everything: 7\ntrainer: {max_epochs: 5, precision: auto}\n")
    made = plan(tmp_path / "c.yaml")
    assert (made["name"], made["seed"], made["epochs"], made["steps"]) == ("small", 7, 5, 15)
    assert plan(tmp_path / "c.yaml", "seed=8")["seed"] == 8
    assert check(tmp_path / "c.yaml", epochs=2)[1]["epochs"] == 2


@pytest.mark.parametrize(
    ("trainer", "epochs"),
    [
        ("{}", 20),  # by size
        ("{max_steps: 7}", 3),  # 3 updates per epoch
        ("{max_steps: 7, max_epochs: 2}", 2),
        ("{max_steps: 4, accumulate_grad_batches: 2}", 2),
        ("{max_epochs: 50}", 50),
    ],
)
def test_the_plan_has_the_epochs_that_would_be_trained(trainer: str, epochs: int, write: Write, tmp_path: Path) -> None:
    write(batch_size=3)
    (tmp_path / "c.yaml").write_text(f"mixture: m.yaml\ntrainer: {trainer}\n")
    assert plan(tmp_path / "c.yaml")["epochs"] == epochs


def test_the_plan_has_the_learning_rate_with_its_reason(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    assert plan(path)["learning_rate"] == 1.5e-4  # for a small encoder
    (tmp_path / "c.yaml").write_text("mixture: m.yaml\nmodel: {learning_rate: 3.0e-5}\n")
    made = plan(tmp_path / "c.yaml")
    assert made["learning_rate"] == 3e-5
    assert "1.5e-4" in made["learning_rate_reason"]  # what it replaces
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "trainer.max_epochs 20 (" in printed
    assert "model.learning_rate 1.5e-4 (" in printed


def test_the_plan_says_why_batches_are_padded(
    write: Write, tiny_encoder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    packed, padded = plan(path), plan(path, f"encoder.name={tiny_encoder('deberta-v2')}")
    assert (packed["packed"], padded["packed"]) == (True, False)
    assert packed["encoder_reasons"] == {}
    assert "deberta-v2" in padded["encoder_reasons"]["encoder.attention"]
    assert list(plan(path, "encoder.attention=eager")["encoder_reasons"]) == ["encoder.attention"]
    assert main(["check", str(path), "encoder.attention=eager"]) == 0
    assert "encoder.attention eager (" in capsys.readouterr().out


@pytest.fixture
def as_entry(monkeypatch: pytest.MonkeyPatch, tiny_encoder: Any) -> None:
    """Loads a tiny encoder in place of every model on the hub."""
    for module in ("mtl.encoder.location", "mtl.encoder.pretrained"):
        monkeypatch.setattr(f"{module}.encoder_folder", lambda name: str(tiny_encoder("bert")))


@pytest.mark.usefixtures("as_entry")
def test_the_plan_says_what_comes_from_the_catalogue(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    made = plan(path, "encoder.name=BioClinical ModernBERT")
    entry = catalogue()["bioclinical-modernbert"]
    assert (made["encoder"], made["learning_rate"]) == (entry.name, 2e-5)
    assert list(made["encoder_reasons"]) == ["encoder.name"]
    assert main(["check", str(path), "encoder.name=bioclinical-modernbert"]) == 0
    printed = capsys.readouterr().out
    assert f"encoder.name {entry.name}: {entry.hub}, revision {entry.revision[:12]} (catalogue)" in printed
    assert f"model.learning_rate 2.0e-5 (hidden size 16; default of '{entry.name}': " in printed
    other = plan(path, "encoder.name=pubmedbert", "encoder.revision=v1")
    assert "v1 (set" in other["encoder_reasons"]["encoder.name"]
    assert other["learning_rate"] == 1.5e-4
    assert plan(path)["encoder_reasons"] == {}


@pytest.mark.usefixtures("as_entry")
def test_the_default_length_of_an_entry_is_planned_with_its_reason(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(encoder={"name": "clinical-longformer"})
    short = catalogue()["clinical-longformer"].defaults.model_copy(update={"max_length": 24})
    entry = catalogue()["clinical-longformer"].model_copy(update={"defaults": short})
    monkeypatch.setattr("mtl.config.encoder_catalogue.entry_of", lambda name: entry)
    made = plan(path)
    assert made["tasks"]["risk"]["max_length"] == 24
    assert made["encoder_reasons"]["encoder.max_length"].startswith("24 (default of 'clinical-longformer': ")
    own = plan(path, "encoder.max_length=16")
    assert own["tasks"]["risk"]["max_length"] == 16
    assert own["encoder_reasons"]["encoder.max_length"].startswith("16 (set")


def test_a_mixture_inside_a_config_is_checked_with_its_paths_beside_the_config(write: Write, tmp_path: Path) -> None:
    content = yaml.safe_load(write().read_text())
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"mixture": content}))
    assert plan(tmp_path / "c.yaml")["name"] == "small"

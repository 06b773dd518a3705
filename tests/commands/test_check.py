from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import ByT5Tokenizer

from mtl.commands.check import check, main
from mtl.config.encoder_catalogue import catalogue
from mtl.problems import Problem
from mtl.readers._parts import KEPT, OVERLAPPING
from tests.causal_models import causal_folder
from tests.masked_lm_models import masked_lm_folder

SECRET = "Mr Miller of Ward 7"  # in every invalid row, and must never be shown

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Returns a function that writes a mixture of one task, `risk`, with its rows, and returns its path.

    Arguments of the function:
        files: Content by name, as bytes, text or a list of rows; None omits a default file.
        task: Fields of the task that differ.
        mixture: Fields of the mixture that differ.
    """
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))

    def make(files: Any = None, *, task: Any = None, rows: Callable[[int], Any] = classified, **mixture: Any) -> Path:
        contents = {f"risk/{split}.jsonl": rows(size) for split, size in (("train", 8), ("dev", 4), ("test", 4))}
        for name, content in {**contents, **(files or {})}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, list):
                path.write_text("".join(json.dumps(row) + "\n" for row in content))
            elif content is not None:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        data = {"reader": "jsonl", "path": "risk", **(task or {}).pop("data", {})}
        risk = {"head": "classification", "labels": ["low", "high"], "data": data, **(task or {})}
        encoder = {"name": str(tiny_encoder("bert")), "max_length": 32}
        fields = {"name": "small", "encoder": encoder, "tasks": {"risk": risk}, **mixture}
        (tmp_path / "m.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
        return tmp_path / "m.yaml"

    return make


def classified(size: int) -> list[dict[str, Any]]:
    return [{"text": f"aspirin increases risk {n}", "label": ["low", "high"][n % 2]} for n in range(size)]


def scored(size: int) -> list[dict[str, Any]]:
    return [{"text": f"aspirin increases risk {n}", "label": float(n % 4)} for n in range(size)]


def tagged(size: int) -> list[dict[str, Any]]:
    entity = {"id": "T1", "type": "Drug", "spans": [[0, 7]], "text": "aspirin"}
    return [{"text": f"aspirin increases risk {n}", "entities": [entity]} for n in range(size)]


REGRESSION = {"head": "regression", "labels": [], "options": {"range": [0, 4]}}
TAGGING = {"head": "token_classification", "labels": ["Drug"]}


def problems(path: Path, *overrides: str) -> list[Problem]:
    """The problems; there must be no plan, and no text of a row in any problem."""
    found, plan = check(str(path), overrides)
    assert found
    assert plan == {}
    assert SECRET not in str([str(problem) for problem in found])
    return found


def plan(path: Path, *overrides: str) -> dict[str, Any]:
    found, made = check(str(path), overrides)
    assert [str(problem) for problem in found] == []
    return made


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


# --- problems of the data ---------------------------------------------------------------------------------------------


def test_a_missing_folder_a_missing_file_and_a_missing_split(write: Write) -> None:
    (problem,) = problems(write(), "tasks.risk.data.path=no/such")
    assert problem.key == "tasks.risk.data.path"
    assert "'no/such'" in problem.message
    (problem,) = problems(write(), "tasks.risk.data.files={train: trian.jsonl, dev: dev.jsonl}")
    assert problem.key == "tasks.risk.data.files.train"
    assert "trian.jsonl" in problem.message
    path = write()
    (path.parent / "risk" / "dev.jsonl").unlink()
    (problem,) = problems(path)
    assert problem.key == "tasks.risk.data"
    assert "'dev'" in problem.message


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_split(write: Write, split: str, content: str) -> None:
    (problem,) = problems(write({f"risk/{split}.jsonl": content}))
    assert problem.key == "tasks.risk.data"
    assert f"'{split}'" in problem.message


def test_a_split_in_which_all_rows_are_invalid(write: Write) -> None:
    refuse = {"on_bad_row": "skip"}
    (problem,) = problems(write({"risk/dev.jsonl": "x\ny\n"}, task={"data": dict(refuse)}))
    assert problem.key == "tasks.risk.data"
    assert re.search(r"'dev'.*\b2\b", problem.message)
    (problem,) = problems(write({"risk/dev.jsonl": [{"text": SECRET, "label": "odd"}]}, task={"data": dict(refuse)}))
    assert re.search(r"'dev'.*\b1\b.*\b1\b", problem.message)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_split_without_a_label(write: Write, split: str) -> None:
    (problem,) = problems(write({f"risk/{split}.jsonl": [{"text": SECRET}] * 3}))
    assert re.search(rf"'{split}'.*\b3\b.*\b0\b", problem.message)


def test_an_unknown_label(write: Write) -> None:
    (problem,) = problems(write({"risk/train.jsonl": [*classified(2), {"text": SECRET, "label": "hihg"}]}))
    assert problem.key == "tasks.risk.train (row train-3)"
    assert all(word in problem.message for word in ("low, high", "'hihg'", "did you mean 'high'?"))
    assert "data.on_bad_row: skip" in problem.suggestion


def test_a_text_in_place_of_a_label_is_not_shown(write: Write) -> None:
    (problem,) = problems(write({"risk/dev.jsonl": [{"text": "x", "label": f"{SECRET} was admitted."}]}))
    assert f" {len(SECRET) + 14} characters" in problem.message


def test_an_unknown_entity_type(write: Write) -> None:
    row = {"text": SECRET, "entities": [{"id": "T9", "type": "Gene", "spans": [[0, 2]]}]}
    (problem,) = problems(write({"risk/dev.jsonl": [row]}, task=TAGGING, rows=tagged))
    assert problem.key == "tasks.risk.dev (row dev-1)"
    assert "Drug" in problem.message
    assert "'Gene'" in problem.message


def test_offsets_that_do_not_match_the_text(write: Write) -> None:
    wrong = [
        {"text": SECRET, "entities": [{"id": "T1", "type": "Drug", "spans": [[0, 7]], "text": "aspirin"}]},
        {"text": SECRET, "entities": [{"id": "T1", "type": "Drug", "spans": [[0, 99]]}]},
        {"text": SECRET, "entities": [{"id": "T1", "type": "Drug", "spans": [[5, 5]]}]},
    ]
    path = write({"risk/train.jsonl": wrong}, task=TAGGING, rows=tagged)
    found = problems(path)
    assert [problem.key for problem in found] == [f"{path.parent}/risk/train.jsonl:{line}" for line in (1, 2)]
    assert "2 lines: 2, 3" in found[1].message


@pytest.mark.parametrize(
    ("label", "part"),
    [
        (4.5, "number 4.5"),
        (-1, "number -1"),
        ("two", "'two'"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, "a boolean"),
    ],
)
def test_a_score_that_is_outside_its_range_or_not_a_number(write: Write, label: Any, part: str) -> None:
    rows = [*scored(2), {"text": SECRET, "label": label}]
    (problem,) = problems(write({"risk/test.jsonl": rows}, task=REGRESSION, rows=scored))
    assert part in problem.message
    assert problem.key.endswith(("risk/test.jsonl:3", "test (row test-3)"))


def test_duplicate_ids(write: Write) -> None:
    rows = [{**row, "id": f"r{n % 3}"} for n, row in enumerate(classified(4))]
    (problem,) = problems(write({"risk/train.jsonl": rows}))
    assert "risk" in problem.key
    assert "'r0'" in problem.message


def test_a_byte_that_is_not_utf8(write: Write) -> None:
    path = write({"risk/train.jsonl": b'{"text": "a", "label": "low"}\n{"text": "caf\xe9", "label": "low"}\n'})
    (problem,) = problems(path)
    assert problem.key == f"{path.parent}/risk/train.jsonl:2"
    assert all(word in problem.message for word in ("UTF-8", "0xe9", "13"))
    assert "on_bad_row: skip" in problem.suggestion


def test_a_reader_whose_rows_the_head_cannot_read_is_reported_once(write: Write) -> None:
    (problem,) = problems(write(task=TAGGING))
    assert problem.key == "tasks.risk.head"
    (problem,) = problems(write(rows=tagged))
    assert problem.key == "tasks.risk.head"


def test_labels_that_most_rows_lack_are_one_problem_of_the_mixture(write: Write) -> None:
    path = write({"risk/train.jsonl": [{"text": SECRET, "label": "LOW"}] * 50})
    (problem,) = problems(path)
    assert problem.key == "tasks.risk.labels"
    assert all(word in problem.message for word in ("50 of 58", "train-1", "'LOW'", "did you mean 'low'?"))
    assert [found.key for found in problems(path, "seed=x")] == ["seed", "tasks.risk.labels"]


def test_two_splits_that_share_a_file(write: Write) -> None:
    (problem,) = problems(write(), "tasks.risk.data.files={train: train.jsonl, dev: train.jsonl}")
    assert (problem.key, "'train' and 'dev'" in problem.message) == ("tasks.risk.data", True)


def test_tasks_that_are_declared_to_share_rows_but_do_not(write: Write) -> None:
    content = yaml.safe_load(write({"other/train.jsonl": classified(7), "other/dev.jsonl": classified(4)}).read_text())
    content["tasks"]["other"] = {**content["tasks"]["risk"], "same_rows_as": "risk"}
    content["tasks"]["other"]["data"] = {"reader": "jsonl", "path": "other"}
    path = write().with_name("two.yaml")
    path.write_text(yaml.safe_dump(content))
    found = problems(path)
    assert {problem.key for problem in found} == {"tasks.other.same_rows_as"}
    assert [split for split in ("train", "dev", "test") if any(f"'{split}'" in f.message for f in found)] == [
        "train",
        "test",  # which `other` lacks
    ]


# --- problems of the mixture and what it needs ------------------------------------------------------------------------


def test_unquoted_yes_and_no_are_errors_with_the_advice_to_quote_them(write: Write) -> None:
    path = write()
    path.write_text(path.read_text().replace("labels:\n    - low\n    - high\n", "labels: [yes, no]\n"))
    found = problems(path)
    assert [problem.key for problem in found] == ["tasks.risk.labels.0", "tasks.risk.labels.1"]
    assert all("quotes" in problem.suggestion for problem in found)


def test_a_missing_encoder_without_network(write: Write) -> None:
    (problem,) = problems(write(), "encoder.name=no/such-encoder")
    assert problem.key == "encoder.name"
    assert "'no/such-encoder'" in problem.message
    assert "minilm-l6" in problem.suggestion
    (problem,) = problems(write(), "encoder.name=./no/such")
    assert problem.key == "encoder.name"
    assert "'./no/such'" in problem.message


def test_an_encoder_without_a_mask_token(write: Write, tmp_path: Path) -> None:
    encoder = {"name": str(causal_folder(tmp_path / "causal")), "kind": "causal", "max_length": 32}
    (problem,) = problems(write(task={"head": "masked_lm", "labels": []}, encoder=encoder))
    assert problem.key == "tasks.risk.head"
    assert "mask token" in problem.message


def test_spans_of_a_tokenizer_without_offsets(write: Write, tmp_path: Path) -> None:
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    folder = causal_folder(tmp_path / "slow", "llama", ByT5Tokenizer(extra_ids=0), **ids)
    encoder = {"name": str(folder), "kind": "causal", "max_length": 32}
    (problem,) = problems(write(task=TAGGING, rows=tagged, encoder=encoder))
    assert problem.key == "encoder.name"
    assert "offsets" in problem.message


def test_a_length_beyond_the_encoders_positions(write: Write) -> None:
    (problem,) = problems(write(), "encoder.max_length=131")
    assert problem.key == "encoder.max_length"
    assert all(number in problem.message for number in ("130", "131"))
    (problem,) = problems(write(), "tasks.risk.max_length=131")
    assert problem.key == "tasks.risk.max_length"


def test_a_metric_that_the_task_does_not_have(write: Write) -> None:
    (problem,) = problems(write(), "evaluation.select=risk/acuracy")
    assert problem.key == "evaluation.select"
    assert all(name in problem.message for name in ("'risk'", "'acuracy'"))
    assert problem.suggestion.startswith("Did you mean 'accuracy'?")


def test_a_group_that_no_row_can_be_in(write: Write) -> None:
    rows = [{**row, "meta": {"site": "A"}} for row in classified(4)]
    path = write({"risk/train.jsonl": rows})
    assert check(str(path), ("evaluation.groups=[site]",))[0] == []
    (problem,) = problems(path, "evaluation.groups=[site, ward]")
    assert problem.key == "evaluation.groups"
    assert "'ward'" in problem.message


def test_tokens_that_the_vocabulary_lacks_are_counted(write: Write, capsys: Any) -> None:
    rows = [{**row, "text": f"{row['text']} Ω⚕"} for row in classified(3)]
    path = write({"risk/dev.jsonl": rows})
    found, plan = check(str(path))
    assert found == []
    splits = plan["tasks"]["risk"]["splits"]
    assert (splits["train"]["unknown_tokens"], splits["dev"]["unknown_tokens"]) == (0, 3)
    assert splits["dev"]["tokens"] > 3
    main(["check", str(path)])
    assert "3 tokens" in capsys.readouterr().out


def test_units_of_intervals_are_counted_and_those_of_train_are_noted(write: Write) -> None:
    files = {
        f"risk/{split}.jsonl": [{**row, "meta": {"patient": f"{split[0]}{n // 2}"}} for n, row in enumerate(rows)]
        for split, rows in (("train", classified(8)), ("dev", classified(4)))
    }
    files["risk/dev.jsonl"][0]["meta"] = files["risk/dev.jsonl"][1]["meta"] = {"patient": "t1"}
    path = write(files)
    found, plan = check(str(path), ("evaluation.unit=patient",))
    assert found == []
    (note,) = [note for note in plan["tasks"]["risk"]["notes"] if "'patient'" in note]
    assert note.startswith("dev: ")
    assert re.findall(r"\d+", note) == ["2", "1"]
    del files["risk/dev.jsonl"][0]["meta"]
    (problem,) = problems(write(files), "evaluation.unit=patient")
    assert (problem.key, "risk, dev" in problem.message) == ("evaluation.unit", True)
    (unknown,) = problems(path, "evaluation.unit=ward")
    assert (unknown.key, "'ward'" in unknown.message) == ("evaluation.unit", True)


def test_problems_of_every_kind_are_reported_at_once(write: Write) -> None:
    train = [*classified(2), {"text": SECRET, "label": "odd"}, {"text": SECRET, "lable": "low"}]
    path = write({"risk/train.jsonl": train, "risk/dev.jsonl": ""})
    found = problems(path, "sampler.name=unifrom", "encoder.name=no/such", "seed=x", "evaluation.select=men", "taks=1")
    assert sorted(problem.key for problem in found) == sorted(
        [
            "taks",
            "seed",
            "sampler.name",
            "evaluation.select",
            "encoder.name",
            "tasks.risk.data",  # dev is empty
            f"{path.parent}/risk/train.jsonl:4",
            "tasks.risk.train (row train-3)",
        ]
    )


def test_problems_of_all_tasks_are_reported_at_once(write: Write) -> None:
    content = yaml.safe_load(write({"risk/dev.jsonl": ""}).read_text())
    content["tasks"]["other"] = {**content["tasks"]["risk"], "data": {"reader": "jsonl", "path": "nowhere"}}
    path = write({"risk/dev.jsonl": ""}).with_name("two.yaml")
    path.write_text(yaml.safe_dump(content))
    assert {problem.key for problem in problems(path)} == {"tasks.risk.data", "tasks.other.data.path"}


def test_an_invalid_task_that_is_excluded_does_not_matter(write: Write) -> None:
    content = yaml.safe_load(write().read_text())
    content["tasks"]["other"] = {**content["tasks"]["risk"], "data": {"reader": "jsonl", "path": "nowhere"}}
    path = write().with_name("two.yaml")
    path.write_text(yaml.safe_dump(content))
    assert list(plan(path, "only=[risk]")["tasks"]) == ["risk"]


def test_a_missing_mixture_file(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "no.yaml")
    assert problem.key == str(tmp_path / "no.yaml")


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


def test_an_entry_that_is_neither_cached_nor_reachable_is_the_only_problem(write: Write) -> None:
    (problem,) = problems(write(), "encoder.name=PubMedBERT")
    assert problem.key == "encoder.name"
    assert "'pubmedbert'" in problem.message
    others = problems(write({"risk/dev.jsonl": [{"text": "fever"}]}), "encoder.name=PubMedBERT", "seed=x")
    assert {"encoder.name", "seed"} <= {one.key for one in others}


def test_an_unknown_encoder_is_reported_with_the_other_problems(write: Write) -> None:
    found = problems(write(), "encoder.name=pubmedbrt", "batch_size=0")
    assert [one.key for one in found] == ["batch_size", "encoder.name"]
    assert "'pubmedbert'" in found[1].suggestion


def test_a_mixture_inside_a_config_is_checked_with_its_paths_beside_the_config(write: Write, tmp_path: Path) -> None:
    content = yaml.safe_load(write().read_text())
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"mixture": content}))
    assert plan(tmp_path / "c.yaml")["name"] == "small"


def test_a_config_that_names_a_missing_mixture(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mixture: no.yaml\n")
    (problem,) = problems(tmp_path / "c.yaml")
    assert problem.key == f"{tmp_path / 'c.yaml'}: mixture"
    assert "'no.yaml'" in problem.message


# --- what is printed ------------------------------------------------------------------------------------------------


def printed(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["check", str(path)]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.startswith("risk: ")]
    return [line for line in lines if " also in " not in line]  # the splits of these toys are alike


def test_notes_are_one_line_per_kind_and_splits_share_it(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*classified(2), {"text": "x"}]
    files = {"risk/train.jsonl": rows, "risk/dev.jsonl": rows, "risk/test.jsonl": ["bad", *rows]}
    path = write(files, task={"data": {"on_bad_row": "skip"}})
    assert [re.sub(r"(jsonl:\d+): .*", r"\1", line) for line in printed(path, capsys)] == [
        "risk: train, dev, test: 1 row without a label for this task (not used)",
        f"risk: test: 1 row skipped as bad, first {path.parent}/risk/test.jsonl:1",
    ]


def test_rows_that_a_reader_excludes_are_one_line_without_zero_counts(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = "T1\tDrug 0 7\taspirin\nT2\tRace 8 17\tincreases\nT3\tAge 18 22\trisk\nT4\tAge 8 17\tincreases\n"
    files = {
        f"brat/{split}/d{n}.{suffix}": text
        for split in ("train", "dev")
        for n in range(2)
        for suffix, text in (("txt", f"aspirin increases risk {n}"), ("ann", ann))
    }
    path = write()
    for name, text in files.items():
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_text(text)
    path = write(task={**TAGGING, "data": {"reader": "brat", "path": "brat", "types": {"Drug": "Drug"}}})
    assert printed(path, capsys) == [
        "risk: no test split, so no test scores are reported",
        "risk: train, dev: excluded by the reader: T Age 4, T Race 2",
        "risk: 100.0% of the 2 mentions of dev are seen in train, and 0.0% are ambiguous there",
    ]


def test_a_plan_without_loss_has_no_notes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(write(), capsys) == []


def test_names_in_square_brackets_are_printed_unchanged(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    def rows(size: int) -> list[dict[str, Any]]:
        return [{"text": f"risk {n}", "label": ["[red]", "[/x]"][n % 2]} for n in range(size)]

    assert main(["check", str(write(rows=rows, task={"labels": ["[red]", "[/x]"]}, name="[b]small"))]) == 0
    shown = capsys.readouterr().out
    assert "[red] 4, [/x] 4" in shown
    assert "[b]small: encoder" in shown


def test_what_a_reader_adjusts_and_what_cannot_be_found_is_in_the_plan(write: Write, capsys: Any) -> None:
    rows = [
        {"text": "aspirin given", "entities": [{"id": "T1", "type": "Drug", "spans": [[0, 8]]}]},
        {"text": "no \u200b aspirin", "entities": [{"id": "T1", "type": "Drug", "spans": [[3, 4]]}]},
        {"text": "no aspirin here", "entities": [{"id": "T1", "type": "Drug", "spans": [[4, 11]]}]},
    ]
    path = write({"risk/train.jsonl": rows}, task=TAGGING, rows=tagged)
    found, plan = check(path)
    assert found == []
    train = plan["tasks"]["risk"]["splits"]["train"]
    assert list(train["adjusted"].values()) == [2]
    assert (train["notes"]["unreachable"], train["notes"]["off_by_one"]) == (2, 1)
    assert main(["check", str(path)]) == 0
    assert "unreachable 2" in capsys.readouterr().out


@pytest.mark.parametrize(("shift", "is_said"), [(0, False), (1, True)])
def test_offsets_that_count_from_one_are_recognised(write: Write, capsys: Any, shift: int, is_said: bool) -> None:
    rows = [
        {"text": f"aspirin and {n} mg", "entities": [{"id": "T1", "type": "Drug", "spans": [[shift, 7 + shift]]}]}
        for n in range(9)
    ]
    path = write({"risk/train.jsonl": rows}, task=TAGGING, rows=tagged)
    assert main(["check", str(path)]) == 0
    assert ("offsets count from 0" in capsys.readouterr().out) is is_said


def test_mentions_in_parts_and_overlapping_ones_are_in_the_plan(write: Write, capsys: Any) -> None:
    parts = {"id": "T1", "type": "Drug", "spans": [[0, 3], [8, 15]]}
    row = {"text": "no risk aspirin", "entities": [parts, {"id": "T2", "type": "Drug", "spans": [[8, 15]]}]}
    files = {"risk/train.jsonl": [row] * 2}
    path = write(files, task=dict(TAGGING), rows=tagged)
    assert check(path)[1]["tasks"]["risk"]["splits"]["train"]["noted"] == {KEPT: 2, OVERLAPPING: 4}
    assert f"mentions: {KEPT} 2, {OVERLAPPING} 4" in " ".join(printed(path, capsys))
    path = write(files, task={**TAGGING, "data": {"discontinuous": "split"}}, rows=tagged)
    train = check(path)[1]["tasks"]["risk"]["splits"]["train"]
    assert (train["noted"], train["labels"]) == ({OVERLAPPING: 4}, {"Drug": 6})


def test_texts_with_several_labels_are_counted(write: Write, capsys: Any) -> None:
    rows = [{"text": "aspirin", "label": label} for label in ("low", "high", "low")]
    path = write({"risk/train.jsonl": [*rows, {"text": "risk", "label": "low"}]})
    _, plan = check(path)
    counts = {split: content["contradictory"] for split, content in plan["tasks"]["risk"]["splits"].items()}
    assert counts == {"train": 1, "dev": 0, "test": 0}
    assert main(["check", str(path)]) == 0
    assert "several different labels" in capsys.readouterr().out


def test_several_label_columns_of_a_table_are_several_tasks(write: Write) -> None:
    table = "note,first,second\n" + "".join(f"aspirin {n},low,{'high' if n % 2 else ''}\n" for n in range(8))
    files = {f"risk/{split}.csv": table.replace("aspirin", split) for split in ("train", "dev", "test")}
    path = write(files, task={"data": {"reader": "table", "columns": {"text": "note", "label": "first"}}})
    fields = yaml.safe_load(path.read_text())
    other = {"head": "classification", "labels": ["low", "high"], "same_rows_as": "risk"}
    fields["tasks"]["other"] = {**other, "data": {"columns": {"label": "second"}}}
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    found, plan = check(path)
    assert found == []
    labels = {name: task["splits"]["train"]["labels"] for name, task in plan["tasks"].items()}
    assert labels == {"risk": {"low": 8, "high": 0}, "other": {"low": 0, "high": 4}}


def test_the_plan_has_the_mentions_that_train_knows(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    def row(text: str, *words: str) -> dict[str, Any]:
        spans = [[text.index(word), text.index(word) + len(word)] for word in words]
        return {"text": text, "entities": [{"id": f"T{n}", "type": "Drug", "spans": [s]} for n, s in enumerate(spans)]}

    files = {
        "risk/train.jsonl": [row("aspirin and warfarin", "aspirin"), row("ibuprofen", "ibuprofen")],
        "risk/test.jsonl": [row("ASPIRIN, warfarin", "ASPIRIN", "warfarin"), row("heparin or aspirin", "aspirin")],
    }
    path = write(files, task=TAGGING, rows=tagged)
    splits = plan(path)["tasks"]["risk"]["splits"]
    assert "surfaces" not in splits["train"]
    expected = {"mentions": 3, "seen": 2, "ambiguous": 1, "other_type": 0, "unlabelled": 1}
    assert splits["test"]["surfaces"] == expected
    assert splits["dev"]["surfaces"] == {**expected, "mentions": 4, "seen": 4, "ambiguous": 0, "unlabelled": 0}
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "risk: 66.7% of the 3 mentions of test are seen in train, and 33.3% are ambiguous there" in lines

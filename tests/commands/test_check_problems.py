"""`mtl check` reports the problems of the data and of the mixture in one pass."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import ByT5Tokenizer

from mtl.planning.mixture_check import check
from tests.causal_models import causal_folder
from tests.commands.small_mixtures import REGRESSION, SECRET, TAGGING, Write, classified, plan, problems, scored, tagged


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


def test_a_config_that_names_a_missing_mixture(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mixture: no.yaml\n")
    (problem,) = problems(tmp_path / "c.yaml")
    assert problem.key == f"{tmp_path / 'c.yaml'}: mixture"
    assert "'no.yaml'" in problem.message


# --- tasks that share rows -------------------------------------------------------------------------------------------


def with_follower(path: Path, **data: Any) -> Path:
    """The mixture with another task on the rows of `risk`, whose label is the key `other`."""
    content = yaml.safe_load(path.read_text())
    content["tasks"]["risk"]["data"] |= {"ignore": ["other"], **data}
    own = {"columns": {"label": "other"}, "ignore": ["label"], **data}
    content["tasks"]["also"] = {"head": "classification", "labels": ["a", "b"], "same_rows_as": "risk", "data": own}
    path.write_text(yaml.safe_dump(content))
    return path


def both(size: int) -> list[dict[str, Any]]:
    return [{**row, "other": "ab"[n % 2]} for n, row in enumerate(classified(size))]


def test_a_row_that_only_one_of_two_tasks_would_skip_is_the_problem(write: Write) -> None:
    rows = {f"risk/{split}.jsonl": both(6) for split in ("train", "dev", "test")}
    rows["risk/train.jsonl"][0]["other"] = "c"
    (problem,) = problems(with_follower(write(rows)))
    assert problem.key == "tasks.also.train (row train-1)"
    assert "on_bad_row" not in problem.suggestion
    (problem,) = problems(with_follower(write(rows), on_bad_row="skip"))
    assert problem.key == "tasks.also.same_rows_as"
    assert all(word in problem.message for word in ("1 row for 'also'", "on_bad_row: skip", "'train'"))


def test_a_problem_of_shared_rows_is_told_once(write: Write) -> None:
    rows = {f"risk/{split}.jsonl": both(6) for split in ("train", "dev", "test")}
    found = problems(with_follower(write(rows)), "tasks.risk.data.path=no/such")
    assert [problem.key for problem in found] == ["tasks.risk.data.path"]


# --- labels -----------------------------------------------------------------------------------------------------------


def test_a_label_that_is_misspelt_in_the_mixture_is_named(write: Write) -> None:
    rows = [{"text": f"aspirin {n}", "label": ["low", "high", "none"][n % 3]} for n in range(9)]
    path = write({f"risk/{split}.jsonl": rows for split in ("train", "dev", "test")})
    (problem,) = problems(path, "tasks.risk.labels=[low, hihg, none]")
    assert "no row has 'hihg'" in problem.suggestion
    (problem,) = problems(path, "tasks.risk.labels=[low, hihg, high]")
    assert "no row has" not in problem.suggestion


def test_a_column_to_split_by_that_no_row_has_is_compared_with_those_that_rows_have(write: Write) -> None:
    rows = [{**row, "meta": {"Patient-Nr": str(n)}} for n, row in enumerate(classified(12))]
    content = yaml.safe_load(write({"risk/train.jsonl": rows}).read_text())
    content["tasks"]["risk"]["data"]["files"] = {"train": "train.jsonl"}
    content["tasks"]["risk"]["data"]["split"] = {"by": "Patient", "fractions": {"train": 0.5, "dev": 0.5}}
    path = write({"risk/train.jsonl": rows}).with_name("cut.yaml")
    path.write_text(yaml.safe_dump(content))
    (problem,) = problems(path)
    assert problem.suggestion == "Did you mean 'Patient-Nr'?"

"""The data module of a run and the key `leakage` of its mixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.training.assembly import build_data
from tests import five_tasks

Write = Callable[..., Path]


def leak(folder: Path) -> None:
    """Adds a row of dev of `cause` to train of `drugs`, in a document of its own."""
    dev = (folder / "cause" / "dev.jsonl").read_text().splitlines()
    row = {"id": "leak", "document": "doc-77", "text": json.loads(dev[0])["text"], "entities": []}
    train = folder / "drugs" / "train.jsonl"
    train.write_text(train.read_text() + json.dumps(row) + "\n")


def test_an_overlap_between_tasks_is_an_error_by_default(toy_mixture: Write, tmp_path: Path) -> None:
    path = toy_mixture()
    leak(tmp_path)
    with pytest.raises(InputError) as caught:
        build_data(load_mixture(path)).setup()
    assert [problem.key for problem in caught.value.problems] == ["tasks.drugs"]


def test_a_data_module_for_evaluation_records_an_overlap_without_an_error(toy_mixture: Write, tmp_path: Path) -> None:
    path = toy_mixture()
    leak(tmp_path)
    data = build_data(load_mixture(path), refuses_leakage=False)
    data.setup()
    assert data.leakage is not None
    assert len(data.leakage.problems()) == 1


def test_excluded_documents_are_left_out_and_the_mixture_stays_as_it_was(toy_mixture: Write, tmp_path: Path) -> None:
    path = toy_mixture()
    whole = build_data(load_mixture(path))
    whole.setup()
    leak(tmp_path)
    mixture = load_mixture(path, ["leakage.documents=exclude"])
    data = build_data(mixture)
    data.setup()
    assert data.mixture == mixture
    assert data.mixture.tasks["drugs"].data.exclude == ()
    assert data.tasks["drugs"]["train"].row_summary.excluded == 1
    for task, splits in whole.tasks.items():
        for split, content in splits.items():
            assert list(content.rows) == list(data.tasks[task][split].rows)
            assert list(content.examples) == list(data.tasks[task][split].examples)


def whole_documents(rows: five_tasks.Rows) -> five_tasks.Rows:
    """The rows without their sentences, and with a second one."""
    kept = [{key: value for key, value in row.items() if key != "sentences"} for row in rows]
    return [{**row, "text": f"{row['text']} Then. All is well."} for row in kept]


@pytest.mark.parametrize("has_sentences", [True, False])
def test_a_checkpoint_says_which_tasks_learned_from_single_sentences(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], has_sentences: bool
) -> None:
    mixture = five_tasks.write(tmp_path, tiny_encoder("bert"))
    train = tmp_path / "links" / "train.jsonl"
    if not has_sentences:
        five_tasks.write_lines(train, whole_documents(five_tasks.read_lines(train)))
    data = build_data(load_mixture(mixture))
    assert data.state_dict()["in_sentences"] == {}, "before it is read"
    data.setup()
    state = data.state_dict()
    assert state["in_sentences"] == {"links": has_sentences}
    assert set(state["row_types"]) == set(data.tasks)

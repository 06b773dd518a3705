"""The planted effects of `experiments/studies/planted` are in the data, and a study with real training finds them."""

import csv
import importlib.util
import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mtl.study.design.study_file import load_study
from mtl.study.running.session import Session
from mtl.study.statistics.significance import Cell

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDY = EXPERIMENTS / "studies" / "planted.yaml"
RESULTS = EXPERIMENTS / "results"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("planted_make", EXPERIMENTS / "studies" / "planted" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_make"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


make = _load()
SIGNS = make.planted()
CORPUS = make.corpus(make.Size())


def name_of(row: dict[str, Any]) -> str:
    """The made-up name: the one word that is not part of the sentence template."""
    text = row["text"].rsplit(", ", maxsplit=1)[-1]
    return str(text.split()[0])


def knowledge(task: str, *splits: str) -> dict[str, str]:
    """The label of each name, which must be the same in all rows."""
    found: dict[str, str] = {}
    for split in splits or ("train", "dev", "test"):
        for row in CORPUS[task][split]:
            assert found.setdefault(name_of(row), row["label"]) == row["label"]
    return found


# --- planted effects --------------------------------------------------------------------------------------------------


def test_every_pair_of_the_four_tasks_has_a_planted_effect() -> None:
    assert set(SIGNS) == {(a, b) for a in make.LABELS for b in make.LABELS if a != b}
    assert Counter(SIGNS.values()) == {"helps": 2, "hurts": 4, "nothing": 6}


def test_related_tasks_share_one_map_under_different_labels() -> None:
    treats, causes = knowledge("treats"), knowledge("causes")
    pairs = set(zip(treats.values(), (causes[name] for name in treats), strict=True))
    assert len(pairs) == 4
    assert all(a != b for a, b in pairs)


def test_each_related_task_trains_on_names_that_the_other_is_tested_on_but_lacks_in_training() -> None:
    treats, causes = knowledge("treats", "train"), knowledge("causes", "train")
    tested = knowledge("treats", "test")
    assert set(tested) == set(knowledge("causes", "test")) == {*treats, *causes}
    assert len(set(tested) - set(treats)) == len(set(tested) - set(causes)) == len(tested) / 3


def test_competing_maps_are_independent_also_on_the_names_that_a_task_lacks_in_training() -> None:
    departments = knowledge("departments")
    for task in ("treats", "causes"):
        labels = knowledge(task)
        assert set(labels) == set(departments) == set(knowledge("departments", "train"))
        for names in (set(labels), set(labels) - set(knowledge(task, "train"))):
            counts = Counter((labels[name], departments[name]) for name in names)
            assert len(counts) == 16
            assert len(set(counts.values())) == 1


def test_the_unrelated_task_shares_no_names_with_the_others() -> None:
    assert not set(knowledge("instruments")) & set(knowledge("departments"))


def test_no_training_sentence_is_in_dev_or_test_of_any_task() -> None:
    trained = {row["text"] for splits in CORPUS.values() for row in splits["train"]}
    held_out = {row["text"] for splits in CORPUS.values() for split in ("dev", "test") for row in splits[split]}
    assert not trained & held_out


def test_the_corpus_is_reproducible_and_depends_on_the_seed() -> None:
    assert make.corpus(make.Size()) == CORPUS
    assert make.corpus(make.Size(seed=2)) != CORPUS


# --- results ----------------------------------------------------------------------------------------------------------


def test_the_committed_results_have_thirty_seeds_and_recover_the_planted_effects() -> None:
    with (RESULTS / "planted.csv").open(encoding="utf-8", newline="") as file:
        found = [line for line in csv.DictReader(file) if line["study"] == "planted"]
    assert {(line["target"], line["partner"]): line["planted"] for line in found} == SIGNS
    assert {line["seeds"] for line in found} == {"30"}
    for line in found:
        low, gain, high = (float(line[name]) for name in ("low", "gain", "high"))
        assert low <= gain <= high
        assert line["verdict"] == _verdict(gain, float(line["adjusted_p"]))
        assert line["verdict"] == {"nothing": "undecided"}.get(line["planted"], line["planted"])
        assert line["recovered"] == "True"


def test_the_committed_page_shows_the_committed_results() -> None:
    text = (RESULTS / "planted.md").read_text(encoding="utf-8")
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    shown = [cells for cells in shown if len(cells) == 8 and cells[0] in make.LABELS]
    with (RESULTS / "planted.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) >= len(SIGNS)
    expected = [
        (line["target"], line["partner"], line["planted"], round(100 * float(line["gain"]), 2), line["verdict"])
        for line in lines
    ]
    assert [(c[0], c[1], c[2], float(c[3].replace("−", "-")), c[6]) for c in shown] == expected
    assert (RESULTS / "planted.png").stat().st_size > 0


def _verdict(gain: float, adjusted_p: float) -> str:
    if adjusted_p > 0.05:
        return "undecided"
    return "helps" if gain > 0 else "hurts"


# One pair of each kind, with the full budget: all six pairs take twice the time, and some tasks do not learn with fewer
# updates.


@pytest.fixture
def _corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANTED", str(tmp_path / "planted"))
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    make.make(tmp_path / "planted", make.Size())


@pytest.mark.slow
@pytest.mark.usefixtures("_corpus")
def test_related_tasks_help_each_other_in_real_training() -> None:
    cells = _cells("treats", "causes", seeds=2)
    assert all(cell.mean > 0.1 for cell in cells)
    assert [cell.verdict for cell in cells] == ["unresolvable", "unresolvable"]


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.usefixtures("_corpus")
def test_a_study_with_real_training_finds_that_related_tasks_help_each_other() -> None:
    assert [cell.verdict for cell in _cells("treats", "causes", seeds=8)] == ["helps", "helps"]


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.usefixtures("_corpus")
def test_a_study_with_real_training_finds_competition_and_no_effect_between_unrelated_tasks() -> None:
    competing = _cells("causes", "departments", seeds=6)
    unrelated = _cells("departments", "instruments", seeds=6)
    assert all(cell.mean < 0 for cell in competing)
    assert "hurts" in [cell.verdict for cell in competing]
    assert "helps" not in [cell.verdict for cell in competing]
    assert [cell.verdict for cell in unrelated] == ["undecided", "undecided"]


def _cells(*tasks: str, seeds: int) -> list[Cell]:
    """The cells of a study of two of the tasks; the studies share their runs."""
    study = load_study(STUDY, [f"seeds={seeds}", f"name={'_'.join(tasks)}", f"tasks=[{', '.join(tasks)}]"])
    session = Session(study, Path("runs"))
    session.run("one")
    session.tracker.close()
    family = session.findings().family("pairwise")
    assert family is not None
    assert {(gain.target, gain.partner) for gain in family.gains} == set(itertools.permutations(tasks))
    return [gain.cell for gain in family.gains]

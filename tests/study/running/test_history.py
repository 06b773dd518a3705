"""What has changed since a study had other runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.code_identity import modules
from mtl.study.design.plan import make_plan
from mtl.study.design.study_file import load_study
from mtl.study.running.history import LISTED, Entry, History, changes_between
from tests.user_head import HELPERS, OURS, use

TRAINING = {"mtl.training.module.Module.step": "a1", "library:torch": "2.12.0"}
REGRESSION = {"heads.regression.Regression.loss": "b1", "heads.regression.pearson": "b2"}


def entry(training: dict[str, str] = TRAINING, head: dict[str, str] = REGRESSION, **settings: Any) -> Entry:
    definitions = {"training": training, "head regression": head, "head crf": {"heads.crf.Crf": "c1"}}
    hashes = {group: json.dumps(found) for group, found in definitions.items()}
    heads = {"risk": "head regression", "drugs": "head crf"}
    return {
        "settings": {"select": "best", **settings},
        "code": {"heads": heads, "hashes": hashes, "definitions": definitions},
        "runs": {},
    }


def test_changed_definitions_and_libraries_are_named_after_changed_settings() -> None:
    now = entry(
        TRAINING | {"library:torch": "2.13.0"}, REGRESSION | {"heads.regression.Regression.loss": "b9"}, select="last"
    )
    assert changes_between(entry(), now) == [
        "select: best -> last",
        "code: heads.regression.Regression.loss, torch 2.12.0 -> 2.13.0",
    ]
    assert changes_between(now, now) == []


def test_long_lists_are_shortened_with_a_count() -> None:
    head = REGRESSION | {f"heads.regression.helper_{number:02}": "d" for number in range(LISTED + 3)}
    (code,) = changes_between(entry(), entry(head=head))
    assert code.startswith("code: heads.regression.helper_00 (new), ")
    assert code.endswith(", and 3 more")
    assert code.count(" (new)") == LISTED


def test_heads_of_tasks_that_only_one_has_are_no_change() -> None:
    now = entry(head={"heads.regression.Regression.loss": "other"})
    del now["code"]["heads"]["risk"]
    assert changes_between(entry(), now) == []


def test_a_head_that_moved_and_changed_is_compared_with_its_earlier_version() -> None:
    now = entry()
    now["code"]["heads"]["risk"] = "head lab.Ours"
    moved = {"lab.regression.Regression.loss": "b1", "lab.regression.pearson": "b9"}
    now["code"]["definitions"]["head lab.Ours"], now["code"]["hashes"]["head lab.Ours"] = moved, "x"
    assert changes_between(entry(), now) == ["code: heads.regression.pearson (removed), lab.regression.pearson (new)"]


def test_changed_code_without_a_changed_definition_is_named_by_its_group() -> None:
    now = entry()
    now["code"]["hashes"]["training"] = "another form of stored tables"
    assert changes_between(entry(), now) == ["code: training"]


@pytest.fixture
def history(toy_study: Callable[..., Path], tmp_path: Path, lab: Callable[..., None]) -> Callable[..., History]:
    """The history of a study in which `cause` has a head of the user's own, and all runs are finished."""
    lab(ours=OURS, helpers=HELPERS)

    def made(*overrides: str) -> History:
        path = toy_study()
        use(tmp_path / "toy.yaml", cause="lab.ours.Ours")
        return History(make_plan(load_study(path, overrides)), tmp_path / "identities.json", lambda key: True, dict)

    return made


def test_a_change_names_what_the_users_code_changed(
    history: Callable[..., History], lab: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    history().note()
    lab(helpers=HELPERS.replace("1.0", "2.0"))
    actual = modules.installed_version
    monkeypatch.setattr(modules, "installed_version", lambda name: "9.9" if name == "numpy" else actual(name))
    now = history("select=last")
    code = f"code: lab.helpers.scaled, numpy {actual('numpy')} -> 9.9"
    assert now.changed() == ["select: best -> last", code]
    (sentence,) = now.changes()
    assert f"select: best -> last; {code}." in sentence
    assert "12 finished runs" in sentence
    assert now.earlier() == {}


def test_earlier_runs_are_those_that_differ_only_in_code(
    history: Callable[..., History], lab: Callable[..., None]
) -> None:
    before = history()
    before.note()
    lab(helpers=HELPERS.replace("1.0", "2.0"))
    now = history("tasks=[cause, risk]", "seeds=3", "designs=[sequential]")
    found = now.earlier()
    by_key = {order.key: order for order in now._plan.run_specs}
    assert {by_key[key].name for key in found} == {"cause, seed 0", "cause, seed 1"}
    keys = {order.name: order.key for order in before._plan.run_specs}
    for key, earlier in found.items():
        assert earlier.key == keys[by_key[key].name] != key
        assert earlier.changed == ("code: lab.helpers.scaled",)
        assert earlier.needs == {(0, "head lab.ours.Ours")}


def test_an_entry_keeps_the_runs_of_removed_seeds(history: Callable[..., History], lab: Callable[..., None]) -> None:
    history("seeds=4").note()
    history("seeds=2").note()
    lab(helpers=HELPERS.replace("1.0", "2.0"))
    now = history("seeds=4")
    assert len(now.entries) == 1
    assert len(now.earlier()) == 4 * 3


def test_a_runs_source_needs_what_the_source_needs(history: Callable[..., History], lab: Callable[..., None]) -> None:
    designs = ("designs=[sequential]", "tasks=[cause, risk]")
    history(*designs).note()
    lab(helpers=HELPERS.replace("1.0", "2.0"))
    now = history(*designs)
    found = {order.name: now.earlier().get(order.key) for order in now._plan.run_specs if order.seed == 0}
    needs = {name: None if earlier is None else {what for _, what in earlier.needs} for name, earlier in found.items()}
    assert needs == {
        "cause, seed 0": {"head lab.ours.Ours"},
        "risk, seed 0": None,
        "cause then risk, seed 0": {"head lab.ours.Ours", "a source"},
        "risk then cause, seed 0": {"head lab.ours.Ours", "a source"},
    }


def test_no_definition_is_stored_twice_for_training_and_a_head(history: Callable[..., History]) -> None:
    history().note()
    (noted,) = history().entries
    groups = noted["code"]["definitions"]
    names = [name for found in groups.values() for name in found]
    shared_by_heads = 2 * len(set(groups["head lab.ours.Ours"]) & set(groups["head regression"]))
    assert len(names) - len(set(names)) <= shared_by_heads
    assert not any(set(found) & set(groups["training"]) for group, found in groups.items() if group != "training")

from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.code_identity import definitions, modules
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.study_code import TRAINING
from mtl.study.design.study_file import load_study
from tests.user_head import HELPERS, OURS, use

Lab = Callable[..., None]


@pytest.fixture
def plan(toy_study: Callable[..., Path], tmp_path: Path, lab: Lab) -> Callable[..., StudyPlan]:
    """The plan of a study in which the task `cause` has a head of the user's own."""
    lab(ours=OURS, helpers=HELPERS)

    def make(head: str = "lab.ours.Ours", **fields: object) -> StudyPlan:
        path = toy_study(**fields)
        use(tmp_path / "toy.yaml", cause=head)
        return make_plan(load_study(path))

    return make


def keys(plan: StudyPlan) -> dict[str, str]:
    return {order.name: order.key for order in plan.run_specs}


@pytest.mark.parametrize(
    "edit",
    [
        {"ours": OURS.replace("total, count", "# Of the batch.\n        total, count")},
        {"ours": OURS.replace("Classifies texts.", "A class for each text.")},
        {"helpers": HELPERS.replace("return x\n", "return -x\n")},
        {"another": "from heads.classification import Classification\n\nclass Another(Classification):\n    pass\n"},
        {"helpers": None, "moved": HELPERS, "ours": OURS.replace("lab.helpers", "lab.moved")},
    ],
    ids=["comment", "docstring", "unused helper", "new head", "moved helper"],
)
def test_an_edit_without_meaning_changes_no_key(
    plan: Callable[..., StudyPlan], lab: Lab, edit: dict[str, str | None]
) -> None:
    before = keys(plan())
    lab(**edit)
    assert keys(plan()) == before


def test_a_moved_head_has_the_same_keys(plan: Callable[..., StudyPlan], lab: Lab) -> None:
    before = keys(plan())
    lab(ours=None, elsewhere=OURS)
    assert keys(plan("lab.elsewhere.Ours")) == before


def test_a_changed_helper_changes_the_keys_of_the_runs_that_use_it(plan: Callable[..., StudyPlan], lab: Lab) -> None:
    fields = {"designs": ["pairwise", "sequential"], "controls": ["self_partner", "shuffled_partner"]}
    before = keys(plan(**fields))
    lab(helpers=HELPERS.replace("1.0", "1.5"))
    after = keys(plan(**fields))
    assert {name for name in before if after[name] != before[name]} == {name for name in before if "cause" in name}


def test_another_head_class_of_the_same_module_gives_other_keys(plan: Callable[..., StudyPlan], lab: Lab) -> None:
    lab(ours=OURS + "\n\nclass Theirs(Ours):\n    pass\n")
    one, other = keys(plan()), keys(plan("lab.ours.Theirs"))
    assert {name for name in one if one[name] != other[name]} == {name for name in one if "cause" in name}


def test_permuting_changes_the_keys_of_the_runs_with_permuted_labels(
    plan: Callable[..., StudyPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"designs": ["single"], "controls": ["shuffled_partner"]}
    before = keys(plan(**fields))
    actual = modules._file

    def other(name: str) -> Path | None:
        path = actual(name)
        if name != "mtl.data.permutation" or path is None:
            return path
        changed = Path("permutation.py").absolute()
        changed.write_text(path.read_text().replace("held = list(rows)", "held = [*rows]"))
        return changed

    monkeypatch.setattr(modules, "_file", other)
    after = keys(plan(**fields))
    assert {name for name in before if after[name] != before[name]} == {name for name in before if "shuffled" in name}


def test_the_libraries_that_decide_results_and_no_others_are_in_every_key(plan: Callable[..., StudyPlan]) -> None:
    code = plan().code
    libraries = {name for found in code.definitions.values() for name in found if name.startswith("library:")}
    found = ("numpy", "python", "pytorch-lightning", "scipy", "tokenizers", "torch", "torchmetrics", "transformers")
    assert libraries == {f"library:{name}" for name in found}


def test_definitions_of_a_head_are_listed_once(plan: Callable[..., StudyPlan]) -> None:
    code = plan().code
    assert set(code.definitions) == {TRAINING, "head lab.ours.Ours", "head token_classification", "head regression"}
    ours = code.definitions["head lab.ours.Ours"]
    assert {"lab.helpers.scaled", "lab.ours.Ours.loss", "heads.classification.Classification.decode"} <= set(ours)
    assert not set(ours) & set(code.definitions[TRAINING])
    assert ours["lab.helpers.scaled"] == definitions("lab.ours:Ours")["lab.helpers.scaled"]

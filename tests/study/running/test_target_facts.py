"""What a study resamples: documents, or the patients of its mixture's `evaluation.unit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtl.problems import InputError
from mtl.study.design.study_file import load_study
from mtl.study.running.session import Session
from tests.five_tasks import read_lines, write_lines

pytestmark = pytest.mark.usefixtures("trained_once")


@pytest.fixture
def session_of(toy_study: Callable[..., Path], tmp_path: Path) -> Callable[[list[str]], Session]:
    """A function that makes a session in which the test rows of `cause` have these patients."""

    def make(patients: list[str]) -> Session:
        path = toy_study(tasks=["cause", "drugs"], frozen=False)
        for split in ("dev", "test"):
            file = tmp_path / "cause" / f"{split}.jsonl"
            named = [patients[n % len(patients)] for n in range(8)] if split == "test" else ["P"] * 9
            rows = zip(read_lines(file), named, strict=True)
            write_lines(file, [{**row, "meta": {"patient": name} if name else {}} for row, name in rows])
        mixture = tmp_path / "toy.yaml"
        fields = {**yaml.safe_load(mixture.read_text()), "evaluation": {"unit": "patient"}}
        mixture.write_text(yaml.safe_dump(fields))
        return Session(load_study(path), Path("runs"))

    return make


def test_patients_are_resampled_and_their_names_stay(session_of: Callable[..., Session]) -> None:
    session = session_of(["Kovacs", "Szabo"])
    session.run("one session")
    session.tracker.close()
    findings = session.findings()
    facts = {name: (one.unit, one.num_units) for name, one in findings.targets.items()}
    assert facts == {"cause": ("patient", 2), "drugs": ("document", 3)}
    described = json.dumps(session.description())
    assert "Kovacs" not in described
    (gain,) = [gain for gain in findings.families[0].gains if gain.target == "cause"]
    by_patient = gain.documents
    assert by_patient is not None
    description = json.loads(described)
    of_documents = description["targets"]["cause"].pop("unit_of_documents")
    assert of_documents == [0, 1] * 4
    assert by_patient.low <= gain.cell.mean <= by_patient.high


def test_a_refused_row_of_test_is_no_document_to_resample(session_of: Callable[..., Session], tmp_path: Path) -> None:
    session_of(["Kovacs", "Szabo"])
    file = tmp_path / "cause" / "test.jsonl"
    rows = read_lines(file)
    write_lines(file, [{**rows[0], "label": "unheard of"}, *rows[1:]])
    mixture = tmp_path / "toy.yaml"
    fields = yaml.safe_load(mixture.read_text())
    fields["tasks"]["cause"]["data"]["on_bad_row"] = "skip"
    mixture.write_text(yaml.safe_dump(fields))
    session = Session(load_study(next(tmp_path.glob("*study*.yaml"))), Path("runs"))
    session.run("one session")
    session.tracker.close()
    assert session.description()["targets"]["cause"]["unit_of_documents"] == [1, 0, 1, 0, 1, 0, 1]
    (gain,) = [gain for gain in session.findings().families[0].gains if gain.target == "cause"]
    assert gain.documents is not None


def test_rows_without_a_patient_are_an_error_of_the_plan(session_of: Callable[..., Session]) -> None:
    session = session_of(["Kovacs", ""])
    with pytest.raises(InputError) as caught:
        session.description()
    assert [problem.key for problem in caught.value.problems] == ["evaluation.unit"]

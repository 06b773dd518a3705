"""The component `biomtl` of spaCy: where predictions are in a document, and how they align with its tokens."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mtl.prediction.predicting import predict
from mtl.prediction.predictor import Predictor
from tests.conftest import REPOSITORY

spacy = pytest.importorskip("spacy", reason="the extra spacy is not installed")

TEXT = "😀 Aspirin increases fever & risk"
SINGLE = ["mentions", "links", "kind"]


@pytest.fixture
def nlp(served_run: Path, planted: None) -> Any:
    import mtl.serving.spacy_component  # noqa: F401  # in place of the entry point, which an older install lacks

    nlp = spacy.blank("en")
    nlp.add_pipe("biomtl", config={"run": str(served_run), "tasks": SINGLE, "accelerator": "cpu"})
    return nlp


def test_without_named_tasks_those_for_pairs_are_left_out(served_run: Path, planted: None) -> None:
    from mtl.serving.spacy_component import RunComponent

    doc = RunComponent(Predictor(served_run, {"accelerator": "cpu"}))(spacy.blank("en")(TEXT))
    assert set(doc.spans) == {"mentions", "links"}
    assert {name.partition(".")[0] for name in doc.cats} == {"kind"}


def test_a_document_holds_what_predict_finds(nlp: Any, served_run: Path) -> None:
    doc = nlp(TEXT)
    expected = (predict(served_run, [TEXT], tasks=SINGLE) or [])[0]["predictions"]
    for task in ("mentions", "links"):
        found = [(span.start_char, span.end_char, span.label_) for span in doc.spans[task]]
        assert found == [(e["start"], e["end"], e["type"]) for e in expected[task]["entities"]]
        assert doc.spans[task].attrs["scores"] == [e["score"] for e in expected[task]["entities"]]
    assert [(span.text, span.label_) for span in doc.ents] == [
        ("Aspirin", "Drug"),
        ("fever", "Event"),
        ("risk", "Event"),
    ]
    assert doc.cats == {f"kind.{label}": score for label, score in expected["kind"]["scores"].items()}
    assert [(r["head"].text, r["type"], r["tail"].text, r["task"]) for r in doc._.relations] == [
        ("Aspirin", "up", "fever", "links"),
        ("Aspirin", "up", "risk", "links"),
    ]
    assert doc._.unaligned == 0


def test_a_document_with_relations_can_be_saved_and_copied(nlp: Any) -> None:
    from spacy.tokens import Doc, DocBin

    from mtl.serving.spacy_component import _fill

    doc = nlp.make_doc("Aspirin caused bleeding .")
    found = [
        {"type": "Drug", "start": 0, "end": 7, "score": 0.9},
        {"type": "Event", "start": 15, "end": 23, "score": 0.8},
    ]
    _fill(doc, {"links": {"entities": found, "relations": [{"type": "causes", "score": 0.5, "head": 0, "tail": 1}]}})
    (relation,) = doc._.relations
    assert (relation["task"], relation["type"], relation["score"]) == ("links", "causes", 0.5)
    assert (relation["head"].text, relation["tail"].text, relation["tail"].label_) == ("Aspirin", "bleeding", "Event")
    packed = DocBin(store_user_data=True, docs=[doc])
    copies = [
        Doc(nlp.vocab).from_bytes(doc.to_bytes()),
        pickle.loads(pickle.dumps(doc)),
        doc.copy(),
        *DocBin().from_bytes(packed.to_bytes()).get_docs(nlp.vocab),
    ]
    for copy in copies:
        (again,) = copy._.relations
        assert (again["head"].text, again["tail"].text, again["head"].doc) == ("Aspirin", "bleeding", copy)


def test_a_mention_inside_a_token_is_counted_and_left_out(nlp: Any) -> None:
    doc = nlp("Paraspirin and fever")
    assert [span.text for span in doc.ents] == ["fever"]
    assert doc._.unaligned == 1
    assert doc._.relations == ()


def test_earlier_entities_stay_unless_a_longer_mention_overlaps_them(nlp: Any) -> None:
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "PERSON", "pattern": "Ann"}, {"label": "LONG", "pattern": "aspirin and fever"}])
    assert [(span.text, span.label_) for span in nlp("Ann and risk").ents] == [("Ann", "PERSON"), ("risk", "Event")]
    assert [span.label_ for span in nlp("aspirin and fever").ents] == ["LONG"]


def test_pipe_predicts_batches_and_leaves_empty_documents_alone(nlp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = Predictor.predict

    def counted(self: Any, rows: Any, **options: Any) -> Any:
        sizes.append(len(rows))
        return whole(self, rows, **options)

    monkeypatch.setattr(Predictor, "predict", counted)
    texts = ["aspirin", "", "fever", "  ", "risk"]
    docs = list(nlp.pipe(texts, batch_size=4))
    assert sizes == [2, 1]
    assert [[span.text for span in doc.ents] for doc in docs] == [["aspirin"], [], ["fever"], [], ["risk"]]


def test_a_component_without_a_run_is_an_error() -> None:
    import mtl.serving.spacy_component  # noqa: F401

    with pytest.raises(ValueError, match="run"):
        spacy.blank("en").add_pipe("biomtl")


def test_the_entry_point_names_the_factory() -> None:
    from mtl.serving.spacy_component import make_component

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["spacy_factories"]["biomtl"].partition(":")
    assert (module, name) == (make_component.__module__, make_component.__name__)


def test_the_example_of_the_page_runs(
    served_run: Path, planted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "spacy" in code)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes").symlink_to(served_run)
    monkeypatch.chdir(tmp_path)
    single = code.replace('"runs/notes"', f'"runs/notes", "tasks": {SINGLE}')  # the run has a task on pairs too
    exec(single, {})
    assert "fever" in capsys.readouterr().out

"""A run whose heads find planted mentions and relations, so that every score can be computed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from tests import five_tasks

LEXICON = {"aspirin": "Drug", "fever": "Event", "risk": "Event", "ibuprofen": "Chemical", "severe bleeding": "Disease"}
"""What the entity heads find, in lower case; `nausea` is found as a disease too, but only at the end of a text."""

TASKS: dict[str, dict[str, Any]] = {
    "mentions": {"head": "token_classification", "labels": ["Drug", "Event"]},
    "links": {
        "head": "relation",
        "labels": ["up", "down", "none"],
        "options": {"negative": "none", "pairs": [["Drug", "Event"]], "input": "markers", "pooling": "entity_start"},
    },
    "findings": {"head": "token_classification", "labels": ["Chemical", "Disease"]},
    "induced": {
        "head": "relation",
        "labels": ["CID", "none"],
        "options": {
            "negative": "none",
            "pairs": [["Chemical", "Disease"]],
            "level": "concept",
            "scope": "document",
            "input": "markers",
            "pooling": "entity_start",
        },
    },
    "kind": {"head": "classification", "labels": ["yes", "no"]},
    "asserted": {
        "head": "mention_classification",
        "labels": ["absent", "present"],
        "options": {"attribute": "assertion", "entity_types": ["Event"]},
    },
}


def row(text: str, entities: Mapping[str, tuple[str, str]] | None = None, *relations: tuple[str, str, str]) -> Any:
    """A row with entities, each a word with its type and concept, and relations between words or concepts."""
    found = []
    for word, (kind, concept) in (entities or {}).items():
        place = {"id": word, "type": kind, "spans": [[text.lower().index(word), text.lower().index(word) + len(word)]]}
        found.append(place | ({"concepts": [concept]} if concept else {}))
    joined = [{"head": head, "tail": tail, "type": kind} for head, tail, kind in relations]
    return {"text": text, "entities": found, "relations": joined}


DRUG, EVENT = ("Drug", ""), ("Event", "")

LINKS = [
    row("aspirin increases fever", {"aspirin": DRUG, "fever": EVENT}, ("aspirin", "fever", "up")),  # right
    row("aspirin reduces fever", {"aspirin": DRUG, "fever": EVENT}, ("aspirin", "fever", "down")),  # another type
    row("aspirin increases cancer", {"aspirin": DRUG, "cancer": EVENT}, ("aspirin", "cancer", "up")),  # missed mention
    row("aspirin and risk", {"aspirin": DRUG}),  # a mention too many
    row("aspirin induces fever", {"aspirin": DRUG, "fever": DRUG}, ("aspirin", "fever", "up")),  # another entity type
    row("the aspirin induces headache", {"aspirin": DRUG, "headache": EVENT}, ("aspirin", "headache", "up")),  # missed
]
"""Predicted are 4 triples, because every pair of found mentions is "up"; gold are 5; 1 is right."""

REFUSED = row("aspirin increases cancer", {"aspirin": DRUG, "cancer": EVENT}, ("aspirin", "cancer", "sideways"))
"""A row of test with a relation type that the task does not know: it is skipped and counts nowhere."""

INDUCED_TRAIN = [
    row("Ibuprofen induces bleeding .", {"ibuprofen": ("Chemical", "D1"), "bleeding": ("Disease", "D2")}),
    row("bleeding .", {"bleeding": ("Disease", "D2")}),
    row("bleeding .", {"bleeding": ("Disease", "D9")}),  # less often than D2
]
INDUCED_TEST = [
    row(
        "IBUPROFEN induces severe bleeding and nausea",
        {"ibuprofen": ("Chemical", "D1"), "severe bleeding": ("Disease", "D2"), "nausea": ("Disease", "D3")},
        ("D1", "D2", "CID"),
        ("D1", "D3", "CID"),
    )
]
"""`severe bleeding` is known by its last word; `nausea` is found, but is not in the training documents."""


def asserted(text: str, **values: str | None) -> Any:
    """A row with events, each a word of its text, and their assertion if it is known."""
    made = row(text, dict.fromkeys(values, EVENT))
    known = [{**e, "attributes": {"assertion": values[e["id"]]}} if values[e["id"]] else e for e in made["entities"]]
    return {**made, "entities": known}


ASSERTED = [
    asserted("no fever today", fever="absent"),  # right
    asserted("the fever after headache", fever="present", headache="absent"),  # another value, and a missed mention
    asserted("there was a risk"),  # a mention too many
    asserted("fever", fever=None),  # not labelled
]
"""Predicted are 3 values that count, because every found mention is "absent"; gold are 3; 1 is right."""


def write(folder: Path, encoder: Path, tasks: Iterable[str] = tuple(TASKS)) -> Path:
    """Writes the data, and the mixture of some of the tasks."""
    kinds = [{"sentence": f"the patient {n}", "gold": ("yes", "no")[n % 2]} for n in range(4)]
    mentions = [{key: one[key] for key in ("text", "entities")} for one in LINKS[:4]]
    findings = [{key: one[key] for key in ("text", "entities")} for one in INDUCED_TRAIN]
    findings = [
        {**one, "entities": [{k: v for k, v in e.items() if k != "concepts"} for e in one["entities"]]}
        for one in findings
    ]
    rows = {"mentions": mentions, "links": LINKS, "findings": findings, "induced": INDUCED_TRAIN, "kind": kinds}
    rows["asserted"] = ASSERTED
    for task, own in rows.items():
        for split in ("train", "dev", "test"):
            used = INDUCED_TEST if (task, split) == ("induced", "test") else own
            used = [*used, REFUSED] if (task, split) == ("links", "test") else used
            lines = [{**one, "id": f"{split}-{n}", "document": f"{task}-{split}-{n}"} for n, one in enumerate(used)]
            five_tasks.write_lines(folder / task / f"{split}.jsonl", lines)
    fields: dict[str, Any] = {
        "name": "five",
        "encoder": {"name": str(encoder), "max_length": 48},
        "batch_size": 4,
        "leakage": dict.fromkeys(("documents", "texts", "sentences", "containment"), "warn"),
        "tasks": {name: {**TASKS[name], "data": {"reader": "jsonl", "path": str(folder / name)}} for name in tasks},
    }
    if "links" in tasks:
        fields["tasks"]["links"]["data"]["on_bad_row"] = "skip"
    if "kind" in tasks:
        fields["tasks"]["kind"]["data"]["columns"] = {"text": "sentence", "label": "gold"}
    path = folder / "five.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    """The folder of a run of the planted tasks."""
    folder = tmp_path_factory.mktemp("planted")
    mixture = write(folder, tiny_encoder("bert"))
    return five_tasks.fit(folder, mixture, "--run.track=false", "--run.baselines=false", "--trainer.max_epochs=1")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entity heads find the words of the lexicon; the others relate every pair, or label every mention, alike.

    They predict their first label.
    """
    plant(monkeypatch)


@pytest.fixture(scope="session")
def tested_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    """A tracked run of the planted entity tasks, scored on test; it can only be used with `planted`.

    On test of `mentions` it finds 4 drugs of 4 and 2 events of 3, and an event that is none.
    """
    folder = tmp_path_factory.mktemp("tested")
    with pytest.MonkeyPatch.context() as monkeypatch:
        plant(monkeypatch)
        mixture = write(folder, tiny_encoder("bert"), ["mentions", "findings"])
        run = five_tasks.fit(folder, mixture, "--trainer.max_epochs=1")
        five_tasks.test(folder)
        return run


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the predictions of the heads as `planted` says."""
    from heads.mention_classification import MentionClassification
    from heads.relation import RelationClassification
    from heads.token_classification import TokenClassification

    def decode(self: Any, row: Any, examples: Any, outputs: Any) -> dict[str, Any]:
        found = [
            {"type": kind, "start": match.start(), "end": match.end(), "score": 0.75}
            for word, kind in [*LEXICON.items(), ("nausea$", "Disease")]
            if kind in self.labels
            for match in re.finditer(word, row.text.lower())
        ]
        return {"entities": sorted(found, key=lambda entity: entity["start"])}

    def outputs(self: Any, logits: Tensor, *_: Any) -> list[Tensor]:
        probabilities = torch.tensor([0.875, *[0.125 / (len(self.labels) - 1)] * (len(self.labels) - 1)])
        return list(probabilities.expand(len(logits), -1))

    monkeypatch.setattr(TokenClassification, "decode", decode)
    monkeypatch.setattr(RelationClassification, "outputs", outputs)
    monkeypatch.setattr(MentionClassification, "outputs", outputs)

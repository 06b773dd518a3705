"""A synthetic biomedical corpus of five small tasks, for which it is known which task can help which.

Usage: ``python experiments/demo/corpus.py OUT [--size N] [--seed S] [--hidden P] …`` writes
``OUT/<task>/{train,dev,test}.jsonl``; the same arguments give the same bytes. Nothing in it is real: the names of
drugs, conditions and instruments are random syllables, and their effects are made up. README.md in this folder
describes the tasks.

Knowledge in the corpus, beyond the wording of sentences:

- a drug has a *class*, which determines what it does to a condition: it treats, causes or prevents it, or does nothing;
- a drug has a *department*, which determines the topic of a note and is independent of the class;
- an *instrument* has a name like a drug but is not one.

For some drugs (`marked`), the ending shows the class and the beginning the department; for the others, it can only be
learned from data. The wording of a sentence either states the label and so teaches this knowledge, or leaves the label
*hidden*, so that the knowledge is needed; adverse_events is always hidden.

Planted between tasks:

- **related**: relations helps mentions (which names are drugs) and adverse_events (the classes of drugs), which is
  small. A share `partner` of the dev and test rows of the two tasks uses names from the train split of relations that
  the task's own train split lacks.
- **unrelated**: similarity and any other task. Similarity uses other words, and its label depends only on them.
- **competing**: relations and topics. Both read "A was replaced by B", but one task needs the classes of both drugs,
  and the other the department of B. An encoder with enough capacity for both is not harmed; a narrow one has to choose.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

Json = dict[str, Any]

SPLITS = ("train", "dev", "test")
PARTNERS = {"mentions": "relations", "adverse_events": "relations"}
TOPICS = {
    "heart": ("heart", "cardiac"),
    "kidney": ("kidney", "renal"),
    "skin": ("skin", "dermal"),
    "sleep": ("sleep", "insomnia"),
}
POOLS = ("common", "mentions", "relations", "adverse_events", "topics", "new")
OWN = ("mentions", "relations", "topics")
"""Tasks whose train split has names that no other train split has."""
NUM_GROUPS = 4  # classes and departments
REPORT_ROWS = 3

BEGINNINGS = ("za", "quo", "bri", "tel")
ENDINGS = ("velin", "umide", "oxar", "atril")
CONDITION_ENDINGS = ("osis", "itis", "emia", "algia")

OPENINGS = ("", "At the visit, ", "In this case, ", "As reported, ")
EFFECTS = {
    "treats": ("relieved", "cured"),
    "causes": ("provoked", "worsened"),
    "prevents": ("averted", "forestalled"),
    "none": ("did not affect", "left unchanged"),
}
"""The effects of the four classes of drugs, and their verbs."""

# The four parts of a similarity sentence: one tuple is one meaning.
PARTS = (
    (("the doctor", "the physician"), ("the nurse", "the carer"), ("the porter", "the orderly"), ("my aunt", "auntie")),
    (("cleaned", "washed"), ("moved", "shifted"), ("bought", "purchased"), ("checked", "inspected")),
    (("the bed", "the mattress"), ("the form", "the paper"), ("the trolley", "the cart"), ("the lamp", "the light")),
    (("at dawn", "at daybreak"), ("at noon", "at midday"), ("at dusk", "at nightfall"), ("on Sunday", "last weekend")),
)


@dataclass(frozen=True)
class Plan:
    """The parameters of the corpus.

    Args:
        size: Number of training rows per task, except adverse_events; dev and test have a third of that each.
        small: Number of training rows of adverse_events.
        seed: Seed of the corpus.
        names: Number of drugs (and of conditions, and of instruments) in each pool of names; with a multiple of 16,
            class and department are exactly independent.
        syllables: Number of random syllables in the name of a drug whose form shows its class.
        marked: Share of the drugs (and instruments) whose form shows their class and department.
        hidden: Share of the rows whose wording does not state the label; in adverse_events no wording does.
        partner: Share of the dev and test rows with names that occur only in the partner's train split; for a task
            without a partner, in no train split.
        new: Share of the dev and test rows, in addition to these, with names that occur in no train split.
        rater_error: Probability that one of the three raters of a similarity is off by one.
    """

    size: int = 240
    small: int = 60
    seed: int = 1
    names: int = 32
    syllables: int = 1
    marked: float = 0.25
    hidden: float = 0.5
    partner: float = 0.4
    new: float = 0.1
    rater_error: float = 0.3


class Drug(NamedTuple):
    """A drug, or an instrument, whose name has the same form."""

    name: str
    group: int
    department: int


def effect(drug: Drug) -> str:
    """What a drug does to conditions."""
    return list(EFFECTS)[drug.group]


class Lexicon:
    """All names by pool: one pool that every train split uses, one for each task, and one that no train split uses."""

    def __init__(self, plan: Plan) -> None:
        self._rng = random.Random(f"{plan.seed}/lexicon")
        self._plan = plan
        self._used: set[str] = set()
        groups = [(i % NUM_GROUPS, i // NUM_GROUPS % NUM_GROUPS) for i in range(plan.names)]
        self.drugs = {pool: [self._drug(*group) for group in groups] for pool in POOLS}
        self.instruments = {pool: [self._drug(*group) for group in groups] for pool in POOLS}
        self.conditions = {pool: [self._condition() for _ in groups] for pool in POOLS}

    def _drug(self, group: int, department: int) -> Drug:
        length = self._plan.syllables

        def form() -> str:
            if self._rng.random() < self._plan.marked:
                return BEGINNINGS[department] + self._syllables(length) + ENDINGS[group]
            return self._syllables(length + 2) + self._rng.choice("lmnrx")

        return Drug(self._unused(form), group, department)

    def _condition(self) -> str:
        return self._unused(lambda: self._syllables(self._plan.syllables + 1) + self._rng.choice(CONDITION_ENDINGS))

    def _syllables(self, number: int) -> str:
        return "".join(self._syllable() for _ in range(number))

    def _syllable(self) -> str:
        return self._rng.choice("bdfgklmnprstvz") + self._rng.choice("aeiou")

    def _unused(self, form: Callable[[], str]) -> str:
        name = form()
        while name in self._used:
            name = form()
        self._used.add(name)
        return name


class Report:
    """A document: a few rows about the same few drugs, with names from one origin."""

    def __init__(self, plan: Plan, lexicon: Lexicon, task: str, split: str, number: int) -> None:
        self.plan = plan
        self.rng = rng = random.Random(f"{plan.seed}/{task}/{split}/{number}")
        self.origin = _origin(plan, task, split, number)
        own = ("common", task) if task in OWN else ("common",)
        pools = {"own": own, "partner": (PARTNERS.get(task, task),), "new": ("new",)}[self.origin]
        # Only the train split of `mentions` has instruments, so those that it lacks are new to every task.
        others = own if self.origin == "own" else ("new",)
        known = [drug for pool in pools for drug in lexicon.drugs[pool]]
        self.drugs = [
            drug for group in range(NUM_GROUPS) for drug in rng.sample([one for one in known if one.group == group], 2)
        ]
        self.conditions = [condition for pool in pools for condition in lexicon.conditions[pool]]
        self.instruments = rng.sample([name for pool in others for name in lexicon.instruments[pool]], 6)

    def wording(self) -> str:
        return "hidden" if self.rng.random() < self.plan.hidden else "told"

    def meta(self, wording: str) -> Json:
        return {"source": "invented", "wording": wording, "names": self.origin}


def adverse_events(report: Report) -> Json:
    """Whether a drug causes conditions; no wording shows it, so it must be known."""
    rng = report.rng
    label = rng.choice(("adverse", "no_adverse"))
    drug = rng.choice([one for one in report.drugs if (effect(one) == "causes") == (label == "adverse")])
    condition = rng.choice(report.conditions)
    text = rng.choice(
        (f"{drug.name} was given; {condition} is on record.", f"{condition} is on record under {drug.name}.")
    )
    return {"text": _opened(rng, text), "label": label, "meta": report.meta("hidden")}


def topics(report: Report) -> Json:
    """The departments of the newly given drugs of a note; explicit rows name the teams that saw the patient."""
    rng, wording = report.rng, report.wording()
    old, *given = rng.sample(report.drugs, rng.choice((2, 3)))
    text = _replaced(old, given, rng.choice(report.conditions))
    labels = sorted({list(TOPICS)[drug.department] for drug in given})
    if wording == "told":
        unseen = rng.choice([topic for topic in TOPICS if topic not in labels])
        seen = [f"the {rng.choice(TOPICS[label])} team" for label in rng.sample(labels, len(labels))]
        missing = f"the {rng.choice(TOPICS[unseen])} team"
        parts = [f"present: {', '.join(seen)}", f"absent: {missing}"]
        text = f"{'; '.join(rng.sample(parts, 2))}; {text}"
    return {"text": _opened(rng, text), "label": labels, "meta": report.meta(wording)}


def mentions(report: Report) -> Json:
    """Drugs and conditions, among instruments with names like those of drugs."""
    rng, wording = report.rng, report.wording()
    drug, instrument = rng.choice(report.drugs), rng.choice(report.instruments)
    condition = rng.choice(report.conditions)
    if wording == "told":
        template = rng.choice(
            (
                "{Drug} was given for {Condition}, and the {instrument} was calibrated.",
                "the {instrument} was switched on before {Drug} was given for {Condition}.",
                "{Condition} was followed on the {instrument} and treated with {Drug}.",
            )
        )
        return _spans(rng, template, {"Drug": drug.name, "Condition": condition, "instrument": instrument.name}, report)
    names = [("Drug", name.name) for name in rng.sample(report.drugs, 2)]
    names += [("instrument", name.name) for name in rng.sample(report.instruments, 2)]
    (kind_1, name_1), (kind_2, name_2) = rng.sample(names, 2)
    template = rng.choice(
        (
            f"{{{kind_1}.1}}, {{{kind_2}.2}} and {{Condition}} are on record.",
            f"the report lists {{{kind_1}.1}} and {{{kind_2}.2}} beside {{Condition}}.",
        )
    )
    values = {f"{kind_1}.1": name_1, f"{kind_2}.2": name_2, "Condition": condition}
    return _spans(rng, template, values, report, wording)


def relations(report: Report) -> Json:
    """The effects of two drugs on a condition; a drug without an effect has no relation."""
    rng, wording = report.rng, report.wording()
    drugs = rng.sample(report.drugs, 2)
    effects = [effect(drug) for drug in drugs]
    if wording == "hidden":
        template = "{Drug.1} was replaced by {Drug.2}; {Condition} is on record."
    else:
        verbs = [rng.choice(EFFECTS[name]) for name in effects]
        template = f"{{Drug.1}} also {verbs[0]} {{Condition}}, {{Drug.2}} also {verbs[1]} it."
    values = {"Drug.1": drugs[0].name, "Drug.2": drugs[1].name, "Condition": rng.choice(report.conditions)}
    row = _spans(rng, template, values, report, wording)
    (condition,) = (entity["id"] for entity in row["entities"] if entity["type"] == "Condition")
    heads = [entity["id"] for entity in row["entities"] if entity["type"] == "Drug"]
    named = zip(heads, effects, strict=True)
    found = [{"head": head, "tail": condition, "type": name} for head, name in named if name != "none"]
    if found:
        row["relations"] = found
    return row


def similarity(report: Report) -> Json:
    """The number of parts, of four, that have the same meaning in two sentences, as the mean of three raters."""
    rng = report.rng
    shared = rng.randrange(len(PARTS) + 1)
    same = set(rng.sample(range(len(PARTS)), shared))
    first, second = [], []
    for index, meanings in enumerate(PARTS):
        one, other = rng.sample(meanings, 2)
        first.append(rng.choice(one))
        second.append(rng.choice(one if index in same else other))
    ratings = [shared + (rng.choice((-1, 1)) if rng.random() < report.plan.rater_error else 0) for _ in range(3)]
    score = round(sum(min(max(rating, 0), 4) for rating in ratings) / 3, 2)
    texts = [f"{_capital(' '.join(parts))}." for parts in (first, second)]
    return {"text": texts[0], "text_pair": texts[1], "label": score, "meta": {"source": "invented"}}


TASKS: dict[str, Callable[[Report], Json]] = {
    task.__name__: task for task in (adverse_events, topics, similarity, mentions, relations)
}


def generate(plan: Plan) -> dict[str, dict[str, list[Json]]]:
    """The rows of every task and split, in the format of the jsonl reader."""
    lexicon = Lexicon(plan)
    return {task: _splits(plan, lexicon, task) for task in TASKS}


def write(plan: Plan, folder: Path) -> None:
    """Writes ``folder/<task>/<split>.jsonl``."""
    for task, splits in generate(plan).items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8", newline="\n")


def _splits(plan: Plan, lexicon: Lexicon, task: str) -> dict[str, list[Json]]:
    """The rows of a task by split. A text that the task already has, in any split, is drawn again."""
    train = plan.small if task == "adverse_events" else plan.size
    sizes = {"train": train, "dev": plan.size // 3, "test": plan.size // 3}
    seen: set[tuple[str, str]] = set()
    splits: dict[str, list[Json]] = {split: [] for split in SPLITS}
    for split, rows in splits.items():
        made = _rows(plan, lexicon, task, split)
        while len(rows) < sizes[split]:
            document, row = next(made)
            if (row["text"], row.get("text_pair", "")) not in seen:
                seen.add((row["text"], row.get("text_pair", "")))
                rows.append({"id": f"{document}-row-{len(rows) + 1:05d}", "document": document} | row)
    return splits


def _rows(plan: Plan, lexicon: Lexicon, task: str, split: str) -> Iterator[tuple[str, Json]]:
    """An endless stream of rows, each with its document."""
    for number in itertools.count(1):
        report = Report(plan, lexicon, task, split, number)
        for _ in range(REPORT_ROWS):
            yield f"invented-{task}-{split}-{number:05d}", TASKS[task](report)


def _origin(plan: Plan, task: str, split: str, number: int) -> str:
    """The origin of the names in a report: the task's own train split, that of the partner, or none."""
    place = number * 7 % 10 / 10  # so that every ten reports have the shares of the plan
    if split == "train" or place >= plan.new + plan.partner:
        return "own"
    return "new" if place < plan.new or task not in PARTNERS else "partner"


def _replaced(old: Drug, given: Sequence[Drug], condition: str) -> str:
    return f"{old.name} was replaced by {' and '.join(drug.name for drug in given)}; {condition} is on record."


def _spans(rng: random.Random, template: str, values: dict[str, str], report: Report, wording: str = "told") -> Json:
    """A row from a template; a capitalised field ``{Type}`` or ``{Type.number}`` is an entity of that type."""
    text, entities = rng.choice(OPENINGS), []
    for literal, field, _, _ in Formatter().parse(template):
        text += literal
        if field is not None:
            start, text = len(text), text + values[field]
            if field[0].isupper():
                entities.append({"type": field.split(".")[0], "spans": [[start, len(text)]]})
    found = [{"id": f"T{number}"} | entity for number, entity in enumerate(entities, 1)]
    return {"text": _capital(text), "entities": found, "meta": report.meta(wording)}


def _opened(rng: random.Random, text: str) -> str:
    return _capital(rng.choice(OPENINGS) + text)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def main() -> None:
    """Generates the corpus from the command line."""
    parser = argparse.ArgumentParser(description="Generates the synthetic corpus.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    for field in fields(Plan):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    plan = Plan(**arguments)
    write(plan, out)
    print(f"Wrote {len(TASKS)} synthetic tasks to {out}: {asdict(plan)}")


if __name__ == "__main__":
    main()

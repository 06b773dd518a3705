"""A synthetic biomedical corpus of five small tasks, for which it is known which task can help which.

Usage: ``python experiments/demo/corpus.py OUT [--size N] [--seed S] [--hidden P] …`` writes
``OUT/<task>/{train,dev,test}.jsonl``; the same arguments give the same bytes. Nothing in it is real: the names of
drugs, conditions and instruments are random syllables, and their effects are made up. README.md in this folder
describes the tasks.

Knowledge in the corpus, beyond the wording of sentences:

- a drug has a *class*, which determines the system of the conditions that it treats, and of those that it causes;
- a drug has a *department*, which determines the topic of a note and is independent of the class;
- a condition has a *system*;
- an *instrument* has a name like a drug but is not one.

For half of the drugs (`marked`), the ending shows the class and the beginning the department; for half of the
conditions, the stem shows the system; for all others, it can only be learned from data. The wording of a sentence
either states the label and so teaches this knowledge, or leaves the label *hidden*, so that the knowledge is needed.

Planted between tasks:

- **related**: mentions and relations (which names are drugs); relations and adverse_events (class of a drug, system of
  a condition). Each task has names that no other train split uses; a share `partner` of the dev and test rows uses
  names from the partner's train split that the task's own train split lacks.
- **unrelated**: similarity and any other task. Similarity uses other words, and its label depends only on them.
- **competing**: adverse_events and topics. Both read "A was replaced by B", but one task needs the class of A and is
  misled by B, and the other needs the department of B and is misled by A. An encoder with enough capacity for both is
  not harmed; a narrow one has to choose.
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
PARTNERS = {"mentions": "relations", "relations": "adverse_events", "adverse_events": "relations"}
TOPICS = {
    "heart": ("heart", "cardiac"),
    "kidney": ("kidney", "renal"),
    "skin": ("skin", "dermal"),
    "sleep": ("sleep", "insomnia"),
}
POOLS = ("common", "mentions", "relations", "adverse_events", "topics", "new")
NUM_GROUPS = 4  # classes, departments and systems
REPORT_ROWS = 3

BEGINNINGS = ("za", "quo", "bri", "tel")
ENDINGS = ("velin", "umide", "oxar", "atril")
STEMS = ("nevr", "karst", "dolm", "pult")
CONDITION_ENDINGS = ("osis", "itis", "emia", "algia")

OPENINGS = ("", "At the visit, ", "In this case, ", "As reported, ")
STARTED = ("was started", "was given", "was tried")
APPEARED = ("appeared", "was noted", "set in")
EFFECTS = {
    "treats": ("relieved", "cured", "eased"),
    "causes": ("provoked", "brought on", "worsened"),
    "none": ("did not affect", "had no effect on", "left unchanged"),
}
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
        size: Number of training rows per task; dev and test have a third of that each.
        seed: Seed of the corpus.
        names: Number of drugs (and of conditions, and of instruments) in each pool of names; with a multiple of 16,
            class and department are exactly independent.
        marked: Share of the names whose form shows their class, department or system.
        hidden: Share of the rows whose wording does not state the label.
        partner: Share of the dev and test rows with names that occur only in the partner's train split.
        new: Share of the dev and test rows with names that occur in no train split.
        rater_error: Probability that one of the three raters of a similarity is off by one.
    """

    size: int = 300
    seed: int = 1
    names: int = 32
    marked: float = 0.5
    hidden: float = 0.5
    partner: float = 0.4
    new: float = 0.1
    rater_error: float = 0.3


class Drug(NamedTuple):
    """A drug, or an instrument, whose name has the same form."""

    name: str
    group: int
    department: int


class Condition(NamedTuple):
    """A condition and its system."""

    name: str
    system: int


def effect(drug: Drug, condition: Condition) -> str:
    """The effect of a drug on a condition: each class treats one system and causes the next."""
    return {0: "treats", 1: "causes"}.get((condition.system - drug.group) % NUM_GROUPS, "none")


class Lexicon:
    """All names by pool: one pool that every train split uses, one for each task, and one that no train split uses."""

    def __init__(self, plan: Plan) -> None:
        self._rng = random.Random(f"{plan.seed}/lexicon")
        self._plan = plan
        self._used: set[str] = set()
        groups = [(i % NUM_GROUPS, i // NUM_GROUPS % NUM_GROUPS) for i in range(plan.names)]
        self.drugs = {pool: [self._drug(*group) for group in groups] for pool in POOLS}
        self.instruments = {pool: [self._drug(*group) for group in groups] for pool in POOLS}
        self.conditions = {pool: [self._condition(system) for system, _ in groups] for pool in POOLS}

    def _drug(self, group: int, department: int) -> Drug:
        def form() -> str:
            if self._rng.random() < self._plan.marked:
                return BEGINNINGS[department] + self._syllable() + self._syllable() + ENDINGS[group]
            return "".join(self._syllable() for _ in range(4)) + self._rng.choice("lmnrx")

        return Drug(self._unused(form), group, department)

    def _condition(self, system: int) -> Condition:
        def form() -> str:
            marked = self._rng.random() < self._plan.marked
            stem = STEMS[system] if marked else self._syllable() + self._rng.choice("bdgmpt")
            return self._syllable() + self._syllable() + stem + self._rng.choice(CONDITION_ENDINGS)

        return Condition(self._unused(form), system)

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

    def __init__(self, plan: Plan, lexicon: Lexicon, task: str, split: str, rng: random.Random) -> None:
        self.plan, self.rng = plan, rng
        self.origin = _origin(plan, task, split, rng)
        own = ("common", task) if task in POOLS else ("common",)
        pools = {"own": own, "partner": (PARTNERS.get(task, task),), "new": ("new",)}[self.origin]
        # Only the train split of `mentions` has instruments, so those that it lacks are new to every task.
        others = own if self.origin == "own" else ("new",)
        self.drugs = rng.sample([drug for pool in pools for drug in lexicon.drugs[pool]], 6)
        self.conditions = [condition for pool in pools for condition in lexicon.conditions[pool]]
        self.instruments = rng.sample([name for pool in others for name in lexicon.instruments[pool]], 6)

    def wording(self) -> str:
        return "hidden" if self.rng.random() < self.plan.hidden else "told"

    def condition(self, drug: Drug, effects: Sequence[str], without: Sequence[Condition] = ()) -> Condition:
        """A condition on which the drug has one of the given effects."""
        wanted = self.rng.choice(effects)
        return self.rng.choice([c for c in self.conditions if effect(drug, c) == wanted and c not in without])

    def meta(self, wording: str) -> Json:
        return {"source": "invented", "wording": wording, "names": self.origin}


def adverse_events(report: Report) -> Json:
    """Whether a drug caused a condition; explicit rows show it only by the order of the two events."""
    rng, wording = report.rng, report.wording()
    drug, other = rng.sample(report.drugs, 2)
    label = rng.choice(("adverse", "no_adverse"))
    condition = report.condition(drug, ("causes",) if label == "adverse" else ("treats", "none"))
    started, appeared = f"{drug.name} {rng.choice(STARTED)}", f"{condition.name} {rng.choice(APPEARED)}"
    first, second = (started, appeared) if label == "adverse" else (appeared, started)
    told = rng.choice((f"after {first}, {second}.", f"{second} after {first}."))
    text = _replaced(drug, [other], condition) if wording == "hidden" else told
    return {"text": _opened(rng, text), "label": label, "meta": report.meta(wording)}


def topics(report: Report) -> Json:
    """The departments of the newly given drugs of a note; explicit rows name the teams that saw the patient."""
    rng, wording = report.rng, report.wording()
    old, *given = rng.sample(report.drugs, rng.choice((2, 3)))
    text = _replaced(old, given, rng.choice(report.conditions))
    labels = sorted({list(TOPICS)[drug.department] for drug in given})
    if wording == "told":
        seen = " and ".join(rng.choice(TOPICS[label]) for label in rng.sample(labels, len(labels)))
        unseen = rng.choice(TOPICS[rng.choice([topic for topic in TOPICS if topic not in labels])])
        text = rng.choice((f"seen by {seen}, not by {unseen}; ", f"not seen by {unseen} but by {seen}; ")) + text
    return {"text": _opened(rng, text), "label": labels, "meta": report.meta(wording)}


def mentions(report: Report) -> Json:
    """Drugs and conditions, among instruments with names like those of drugs."""
    rng, wording = report.rng, report.wording()
    drug, instrument = rng.choice(report.drugs), rng.choice(report.instruments)
    condition = rng.choice(report.conditions).name
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
    """The effect of a drug on each of two conditions; a pair without an effect has no relation."""
    rng, wording = report.rng, report.wording()
    drug = rng.choice(report.drugs)
    first = report.condition(drug, tuple(EFFECTS))
    second = report.condition(drug, tuple(EFFECTS), without=[first])
    effects = [effect(drug, condition) for condition in (first, second)]
    template = "{Drug} was given; {Condition.1} and {Condition.2} are on record."
    if wording == "told":
        verbs = [rng.choice(EFFECTS[name]) for name in effects]
        joined = "and" if effects[0] == effects[1] else "but"
        template = f"{{Drug}} {verbs[0]} {{Condition.1}} {joined} {verbs[1]} {{Condition.2}}."
    values = {"Drug": drug.name, "Condition.1": first.name, "Condition.2": second.name}
    row = _spans(rng, template, values, report, wording)
    found = [{"head": "T1", "tail": f"T{i}", "type": name} for i, name in enumerate(effects, 2) if name != "none"]
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
    sizes = {"train": plan.size, "dev": plan.size // 3, "test": plan.size // 3}
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
    rng = random.Random(f"{plan.seed}/{task}/{split}")
    for number in itertools.count(1):
        report = Report(plan, lexicon, task, split, rng)
        for _ in range(REPORT_ROWS):
            yield f"invented-{task}-{split}-{number:05d}", TASKS[task](report)


def _origin(plan: Plan, task: str, split: str, rng: random.Random) -> str:
    """The origin of the names in a report: the task's own train split, that of the partner, or none."""
    draw = rng.random()
    if split == "train" or draw >= plan.new + plan.partner:
        return "own"
    if draw < plan.new:
        return "new"
    return "partner" if task in PARTNERS else "own"


def _replaced(old: Drug, given: Sequence[Drug], condition: Condition) -> str:
    return f"{old.name} was replaced by {' and '.join(drug.name for drug in given)}; {condition.name} is on record."


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

"""The tasks that predict an input: which rows they can predict, and where the mentions that they need come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from heads import Head, Row, SpanRow
from mtl.config.mixture import TaskSpec
from mtl.data.row_problems import shown_rule
from mtl.data.sentence_spans import has_several_sentences, reads_sentences
from mtl.hashed_ids import shown_id
from mtl.messages import counted, say
from mtl.prediction.inputs import Input, InputRow
from mtl.prediction.mentions import Sources, find_sources, parse_choices
from mtl.prediction.row_fitting import as_read_by, lacks_mentions
from mtl.problems import InputError, Problem
from mtl.readers import bad_row_problems
from mtl.training.checkpoints import TrainedRows
from mtl.writers import PredictedRow

LISTED = 20
"""Number of problems with rows that are listed; further ones are only counted."""

SHOWN_ROWS = 5
"""Number of rows that a problem names."""


@dataclass(frozen=True)
class AcceptedInput:
    """What is known about an input before the first prediction.

    Args:
        num_rows: Number of rows that are predicted.
        skipped: Numbers of the rows that are skipped, among the readable ones.
        carried: Keys that are carried to the output.
        texts: The first texts, at most two.
        notes: What the user should know about how rows are read.
    """

    num_rows: int
    skipped: frozenset[int]
    carried: tuple[str, ...]
    texts: tuple[str, ...]
    notes: tuple[str, ...]


class InputJob:
    """The tasks that predict an input.

    Args:
        source: The input.
        heads: Head of each task to predict.
        kinds: The kind of rows on which each task was trained.
        choices: Entity tasks that the user chose, each ``NAME=TASK[,TASK…]``.
        all_heads: Head of each task of the run.
        specs: Tasks of the mixture.
    """

    def __init__(
        self,
        source: Input,
        heads: Mapping[str, Head],
        *,
        kinds: TrainedRows,
        choices: Sequence[str],
        all_heads: Mapping[str, Head],
        specs: Mapping[str, TaskSpec],
    ) -> None:
        self._source, self._kinds, self._all_heads, self._specs = source, kinds, all_heads, specs
        self._choices = parse_choices(choices, all_heads)
        self.completes = not source.is_own
        """Whether rows get what their tasks had in training and they lack."""
        self.names = list(heads)
        """Names of the tasks whose predictions are written."""
        self.heads = dict(heads)
        """Head of each task to predict, and after `check` of the entity tasks that they need."""
        self.sources: Sources = {}
        """The entity tasks of each task whose mentions must be found, after `check`."""

    def check(self, *, skips: bool) -> AcceptedInput:
        """Reads the whole input before the first prediction.

        Raises:
            InputError: There are bad rows and `skips` is false, or mentions that a task needs cannot be found.
        """
        rows, bad_rows = self._source.read()
        unreadable: dict[tuple[str, str], list[str]] = defaultdict(list)
        skipped: set[int] = set()
        carried: dict[str, None] = {}
        texts: list[str] = []
        lacking: set[str] = set()
        undivided: Counter[str] = Counter()
        num_rows = num_numbered = 0
        for number, one in enumerate(rows):
            num_rows += 1
            problems = [(name, rule) for name in self.heads if (rule := self._problem(name, one.row)) is not None]
            for problem in problems:
                unreadable[problem].append(shown_id(one.row.id))
            if problems:
                skipped.add(number)
                continue
            num_numbered += one.has_number
            carried |= dict.fromkeys(one.carried)
            lacking |= {name for name in self.heads if self._lacks_mentions(name, one.row)}
            undivided.update(name for name in self.heads if self._is_undivided(name, one.row))
            texts += [one.row.text] if len(texts) < 2 else []
        advice = "Fix the row, remove it, or leave bad rows out with --on-bad-row skip."
        refusals = bad_row_problems(bad_rows, "" if skips else advice)
        able = [name for name in self.heads if name not in {task for task, _ in unreadable}]
        advice = f"Give what it needs, or choose other tasks: --task {' '.join(able)}." if able and not skips else ""
        refusals += [_refusal(name, rule, ids, advice) for (name, rule), ids in unreadable.items()]
        if refusals and not skips:
            raise InputError(_few(refusals))
        for refusal in _few(refusals):
            say(str(refusal))
        if refusals:
            say(f"Skipped {counted(len(bad_rows) + len(skipped), 'bad row')}.")
        self._find_sources(sorted(lacking))
        notes = (*self._source.notes, *_notes_on_ids(num_numbered), *self._notes_on_sentences(undivided))
        return AcceptedInput(num_rows - len(skipped), frozenset(skipped), tuple(carried), tuple(texts), notes)

    def rows(self, accepted: AcceptedInput) -> Iterator[InputRow]:
        """The rows that are predicted."""
        rows, _ = self._source.read()
        return (one for number, one in enumerate(rows) if number not in accepted.skipped)

    def predicted(
        self, accepted: AcceptedInput, wanted: range, predictions: Iterable[Mapping[str, Any]]
    ) -> Iterator[PredictedRow]:
        """Rows with their predictions, in order."""
        rows = islice(self.rows(accepted), wanted.start, wanted.stop)
        types = self._types_looked_for() if self._source.carries_texts else {}
        for one, made in zip(rows, predictions, strict=True):
            found = {name: {**task, **types.get(name, {})} for name, task in made.items()} if types else made
            words = one.row.words if isinstance(one.row, SpanRow) else None
            yield PredictedRow(one.row.id, one.row.document, one.row.text, found, one.carried, one.title_end, words)

    def _types_looked_for(self) -> dict[str, dict[str, list[str]]]:
        """The types that each task looks for, as weak labels need them: the others are not absent, but unknown."""
        finding = {name: head for name, head in self.heads.items() if head.mention_types or head.pairing is not None}
        return {name: {"annotated": list(head.labels)} for name, head in finding.items()}

    def _find_sources(self, lacking: Sequence[str]) -> None:
        problems: list[Problem] = []
        for name in lacking:
            try:
                self.sources[name] = find_sources(self._all_heads, name, self._choices.get(name, ()))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        finders = {finder for names in self.sources.values() for finder in names}
        self.heads |= {name: head for name, head in self._all_heads.items() if name in finders}

    def _lacks_mentions(self, name: str, row: Row) -> bool:
        return lacks_mentions(self.heads[name], row, self._kinds.row_types.get(name))

    def _is_undivided(self, name: str, row: Row) -> bool:
        """Whether a row has several sentences but does not say so, and matters to a task that reads single ones."""
        head = self.heads[name]
        if not self.completes or not reads_sentences(head) or self._kinds.in_sentences.get(name) is False:
            return False
        read = as_read_by(head, row, self._kinds.row_types.get(name))
        return isinstance(read, SpanRow) and has_several_sentences(read)

    def _notes_on_sentences(self, undivided: Mapping[str, int]) -> Iterator[str]:
        for name, number in undivided.items():
            texts = f"{counted(number, 'text')} without sentences"
            if self._kinds.in_sentences.get(name):
                yield f"The task '{name}' learned from single sentences, so {texts} will be divided into sentences."
            else:
                yield (
                    f"The task '{name}' reads mentions within a sentence, and its checkpoint does not say whether it"
                    f" learned from single sentences. It takes each of {texts} for one; give their sentences, or one at"
                    " a time."
                )

    def _problem(self, name: str, row: Row) -> str | None:
        """Why a task cannot predict a row, without text of it."""
        head = self.heads[name]
        read = as_read_by(head, row, self._kinds.row_types.get(name))
        problem = head.check(read)
        if problem is not None:
            return shown_rule(problem, read)
        trained, given = self._kinds.num_texts.get(name), 1 if row.text_pair is None else 2
        if trained in (None, given):
            return None
        # With another number of texts than in training, the prediction would mean nothing.
        if trained == 2:
            return f"the task was trained on pairs and needs a second text ({self._pair_names(name)}), got one text"
        return "the task was trained on single texts, got a text_pair"

    def _pair_names(self, name: str) -> str:
        """How an input names the two texts of a task."""
        columns = self._specs[name].data.options.get("columns")
        own = columns if isinstance(columns, Mapping) else {}
        names = [own.get(field, field) for field in ("text", "text_pair")]
        known = " and ".join(f"'{column}'" for column in names)
        return "'text' and 'text_pair'" if not own else f"'text' and 'text_pair', or {known}"


def _refusal(name: str, rule: str, ids: Sequence[str], advice: str) -> Problem:
    rows = ", ".join(ids[:SHOWN_ROWS]) + ", …" * (len(ids) > SHOWN_ROWS)
    counted = f"row {rows}" if len(ids) == 1 else f"{len(ids)} rows: {rows}"
    return Problem(f"tasks.{name}", f"The task '{name}' cannot predict {counted}: {rule}.", advice)


def _notes_on_ids(num_numbered: int) -> Iterator[str]:
    if num_numbered:
        rows = "1 row repeats" if num_numbered == 1 else f"{num_numbered} rows repeat"
        yield f"{rows} the id of an earlier row. Their ids get a number, such as 7-2 for the second 7."


def _few(problems: Sequence[Problem]) -> list[Problem]:
    more = len(problems) - LISTED
    return [*problems[:LISTED], *([Problem("--input", f"{more} more problems like these.")] if more > 0 else [])]

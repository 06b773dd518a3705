"""The component `biomtl` of a spaCy pipeline, which predicts documents with a run.

    nlp = spacy.blank("en")
    nlp.add_pipe("biomtl", config={"run": "runs/notes"})

What the tasks find is in these places of a document:

- ``doc.ents``: the mentions of all tasks; of overlapping ones the longest, as spaCy allows no others there
- ``doc.spans[task]``: all mentions of a task, with `scores` and `attributes` in ``doc.spans[task].attrs``
- ``doc.cats["task.label"]``: the probability of each label, and ``doc.cats["task"]`` for a number
- ``doc._.relations``: the relations, each with `task`, `type`, `score`, and `head` and `tail` as spans. They are kept
  as the numbers of tokens, so that a document can be saved and copied
- ``doc._.unaligned``: the number of mentions that hold no whole token of spaCy's tokenizer and are left out
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.util import filter_spans

from mtl.prediction.predictor import Predictor, task_names

_RELATIONS = "biomtl_relations"
"""The extension that keeps the relations, with the first token, the token after the last, and the type of both ends."""

DEFAULTS: dict[str, Any] = {"run": None, "tasks": None, "mentions": [], "accelerator": "auto"}


@Language.factory("biomtl", default_config=DEFAULTS, assigns=["doc.ents", "doc.spans", "doc.cats"])
def make_component(
    nlp: Language,
    name: str,
    *,
    run: str | None,
    tasks: list[str] | None,
    mentions: Sequence[str],
    accelerator: str,
) -> RunComponent:
    """The component, as spaCy makes it from a configuration.

    Args:
        nlp: The pipeline.
        name: Name of the component in the pipeline.
        run: Folder of a run, whose best checkpoint predicts, or a checkpoint.
        tasks: Names of the tasks; None predicts all but those that were trained on pairs of texts.
        mentions: Entity tasks that find the mentions of a task, each ``NAME=TASK[,TASK…]``.
        accelerator: As Lightning's trainer names it.

    Raises:
        ValueError: There is no run in the configuration.
        InputError: There is no such run, checkpoint or task.
    """
    if run is None:
        raise ValueError(f'{name}.run must be the folder of a run: nlp.add_pipe("biomtl", config={{"run": "runs/…"}})')
    return RunComponent(Predictor(run, {"accelerator": accelerator}), tasks, mentions)


class RunComponent:
    """Adds the predictions of a run to documents.

    Args:
        predictor: The run.
        tasks: Names of the tasks; None predicts all but those that were trained on pairs of texts.
        mentions: Entity tasks that find the mentions of a task, each ``NAME=TASK[,TASK…]``.

    Raises:
        InputError: There is no such task.
    """

    def __init__(self, predictor: Predictor, tasks: Sequence[str] | None = None, mentions: Sequence[str] = ()) -> None:
        names = task_names(predictor.mixture, tasks)
        self._predictor, self._mentions = predictor, mentions
        self._tasks = names if tasks else predictor.fitting(names, 1)
        for name, default in ((_RELATIONS, ()), ("unaligned", 0)):
            Doc.set_extension(name, default=default, force=True)
        Doc.set_extension("relations", getter=_relations, force=True)

    def __call__(self, doc: Doc) -> Doc:
        return self._predicted([doc])[0]

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 64) -> Iterator[Doc]:
        """Predicts documents in batches.

        Args:
            stream: The documents.
            batch_size: Number of documents that are predicted together.
        """
        waiting = iter(stream)
        while docs := list(islice(waiting, batch_size)):
            yield from self._predicted(docs)

    def _predicted(self, docs: list[Doc]) -> list[Doc]:
        filled = [doc for doc in docs if doc.text.strip()]
        rows = [{"text": doc.text} for doc in filled]
        found = self._predictor.predict(rows, tasks=self._tasks, mentions=self._mentions) if rows else []
        for doc, record in zip(filled, found, strict=True):
            _fill(doc, record["predictions"])
        return docs


def _fill(doc: Doc, predictions: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the predictions of all tasks into a document."""
    relations: list[dict[str, Any]] = []
    unaligned: set[tuple[int, int]] = set()
    spans: list[Span] = []
    for task, found in predictions.items():
        mentions = found.get("entities", [])
        aligned = [doc.char_span(m["start"], m["end"], label=m["type"], alignment_mode="contract") for m in mentions]
        unaligned |= {(m["start"], m["end"]) for m, span in zip(mentions, aligned, strict=True) if span is None}
        if "entities" in found:
            kept = [(m, span) for m, span in zip(mentions, aligned, strict=True) if span is not None]
            attributes = [m.get("attributes", {}) for m, _ in kept]
            attrs = {"scores": [m["score"] for m, _ in kept]} | ({"attributes": attributes} if any(attributes) else {})
            doc.spans[task] = SpanGroup(doc, name=task, spans=[span for _, span in kept], attrs=attrs)
            spans += doc.spans[task]
        for one in found.get("relations", []):
            ends = {place: aligned[one[place]] for place in ("head", "tail") if isinstance(one[place], int)}
            if len(ends) == 2 and None not in ends.values():
                tokens = {place: [span.start, span.end, span.label_] for place, span in ends.items()}
                relations.append({"task": task, "type": one["type"], "score": one["score"], **tokens})
        doc.cats |= {f"{task}.{label}": score for label, score in found.get("scores", {}).items()}
        if isinstance(found.get("value"), float):
            doc.cats[task] = found["value"]
    doc.ents = filter_spans([*spans, *doc.ents])
    doc._.set(_RELATIONS, relations)
    doc._.unaligned = len(unaligned)


def _relations(doc: Doc) -> tuple[dict[str, Any], ...]:
    """The relations of a document, whose ends are spans."""
    return tuple(
        {
            **one,
            **{place: Span(doc, start, end, label) for place in ("head", "tail") for start, end, label in [one[place]]},
        }
        for one in doc._.get(_RELATIONS)
    )

"""EBM-NLP: abstracts of trials whose words are labelled as participants, interventions and outcomes (PICO)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from heads.rows import Entity, Span, SpanRow
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem
from mtl.readers import OnBadRow, Reader
from mtl.readers._members import Member, members
from mtl.readers._words import word_spans

Phase = Literal["starting_spans", "hierarchical_labels"]

ELEMENTS = {"participants": "Participant", "interventions": "Intervention", "outcomes": "Outcome"}
"""The folder of each element, with the entity type of its spans."""

DETAILS = {
    "participants": ("Age", "Sex", "Sample-size", "Condition"),
    "interventions": (
        *("Surgical", "Physical", "Pharmacological", "Educational", "Psychological"),
        *("Other", "Control"),
    ),
    "outcomes": ("Physical", "Pain", "Mortality", "Adverse-effects", "Mental", "Other"),
}
"""The hierarchical labels of each element, from label 1."""

SHARED_WORD = "word of several elements, read as the last of them"

_SPLITS = {"train": "train", "test": "test/gold"}
_TOKENS = re.compile(r"(?:.*/)?documents/([^/]+)\.tokens", re.DOTALL)
_LABELS = re.compile(r"(?:.*/)?aggregated/([^/]+)/([^/]+)/(train|test/gold)/([^/]+?)[._]AGGREGATED\.ann", re.DOTALL)


class EBMNLP(Reader):
    r"""Abstracts with PICO elements, one row per document, whose text is its tokens joined by spaces.

    The layout is that of `ebm_nlp_2_00.tar.gz` (Nye et al. 2018), as BigBIO's loader `ebm_pico` and the authors'
    `build_data.py` (bepnye/EBM-NLP) read it: a file of tokens for each document, and for each element a file with one
    label per token. Neighbouring tokens with the same label are one mention, so two mentions that touch are merged::

        documents/23.tokens                                                      Pain in adults
        annotations/aggregated/starting_spans/participants/train/23.AGGREGATED.ann   0 0 1
        annotations/aggregated/starting_spans/outcomes/train/23.AGGREGATED.ann       1 0 0
        SpanRow("23", "23", "Pain in adults", words=((0, 4), (5, 7), (8, 14)),
                entities=(Entity("T1", "Participant", ((8, 14),)), Entity("T2", "Outcome", ((0, 4),))),
                annotated=("Participant", "Outcome"))

    An element without a file is not annotated in the row. A document of the test set is left out of train, and counted.
    The release has no dev set, which can be cut from train with `split`, and no sentences.

    Mentions are continuous. Those of different elements may overlap (about 3% of the words): with `overlap: keep`, all
    are kept and counted.

    Args:
        path: The folder `ebm_nlp_2_00`, or its archive.
        phase: The annotation: `starting_spans`, whose types are Participant, Intervention and Outcome, or
            `hierarchical_labels`, whose types are such as Outcome_Pain. The release says that only the former has a
            test set for finding spans.
        overlap: What happens to a word of several elements: `keep` gives it to a mention of each, `last` only to the
            last in the order participants, interventions, outcomes, as the authors' baseline does.
        on_bad_row: See `Reader`.
    """

    other_names = ("ebm_pico", "pico")

    def __init__(
        self,
        path: str,
        *,
        phase: Phase = "starting_spans",
        overlap: Literal["keep", "last"] = "keep",
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, on_bad_row=on_bad_row)
        self.phase: Phase = phase
        self.overlap = overlap

    def sources(self) -> dict[str, Path]:
        if not self.exists(self.path):
            raise InputError(Problem("path", f"'{self.path}' does not exist.", "Check the path."))
        return dict.fromkeys(_SPLITS, self.path)

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        tokens: dict[str, Member] = {}
        labels: dict[str, dict[str, dict[str, Member]]] = {name: {} for name in _SPLITS.values()}
        for name, content in members(self, source, _is_wanted).items():
            if match := _TOKENS.fullmatch(name):
                tokens[match[1]] = Member(source / name, content)
            elif (match := _LABELS.fullmatch(name)) and match[1] == self.phase and match[2] in ELEMENTS:
                labels[match[3]].setdefault(match[4], {})[match[2]] = Member(source / name, content)
        own = labels[_SPLITS[split]]
        if not own:
            place = f"annotations/aggregated/{self.phase}/…/{_SPLITS[split]}"
            self.bad(source, None, f"there must be files in {place}", "none")
        for document, files in sorted(own.items()):
            if split == "train" and document in labels[_SPLITS["test"]]:
                self.left_out["document of the test set"] += 1
            elif document not in tokens:
                self.bad(
                    next(iter(files.values())).place, None, "a document must have a file of tokens", quoted_id(document)
                )
            else:
                yield from self._row(document, tokens[document], files)

    def _row(self, document: str, tokens: Member, files: dict[str, Member]) -> Iterator[SpanRow]:
        """The row of a document, or nothing if it is bad."""
        text = self.decode(tokens.content, tokens.place)
        if text is None:
            return
        words = _tokens(text)
        if not words:
            self.bad(tokens.place, None, "a document must have tokens", "none")
            return
        elements = [element for element in ELEMENTS if element in files]
        types: list[list[str]] = []
        for element in elements:
            own = self._types(files[element], element, len(words))
            if own is None:
                return
            types.append(own)
        offsets = word_spans(words)
        yield SpanRow(
            id=document,
            document=document,
            text=" ".join(words),
            words=offsets,
            entities=tuple(_entities(self._separate(types), offsets)),
            annotated=None if len(elements) == len(ELEMENTS) else tuple(itertools.chain(*map(self._names, elements))),
        )

    def _types(self, file: Member, element: str, num_words: int) -> list[str] | None:
        """The entity type of each token, empty for none; None if the file is bad."""
        text = self.decode(file.content, file.place)
        if text is None:
            return None
        names = {str(label): name for label, name in enumerate(["", *self._names(element)])}
        written = re.findall(r"[^\s,]+", text)
        unknown = sum(label not in names for label in written)
        if unknown:
            self.bad(file.place, None, f"labels must be 0 to {len(names) - 1}", f"{unknown} others")
        elif len(written) != num_words:
            self.bad(file.place, None, "there must be one label for each token", f"{len(written)} for {num_words}")
        else:
            return [names[label] for label in written]
        return None

    def _names(self, element: str) -> list[str]:
        """The entity types of an element, in the order of the labels."""
        name = ELEMENTS[element]
        return [name] if self.phase == "starting_spans" else [f"{name}_{detail}" for detail in DETAILS[element]]

    def _separate(self, types: list[list[str]]) -> list[list[str]]:
        """The types of the tokens by element; with the option `last`, each token has one element at most."""
        if self.overlap == "keep":
            return types
        by_token = list(zip(*types, strict=True))
        self.adjusted[SHARED_WORD] += sum(sum(map(bool, own)) > 1 for own in by_token)
        last = [max((index for index, name in enumerate(own) if name), default=-1) for own in by_token]
        return [
            [name if index == last[position] else "" for position, name in enumerate(own)]
            for index, own in enumerate(types)
        ]


def _is_wanted(path: PurePosixPath) -> bool:
    return path.suffix in (".tokens", ".ann")


def _tokens(text: str) -> list[str]:
    """The tokens: one per line in version 2 of the release, separated by spaces in version 1."""
    return re.findall(r"[^\n\r]+" if "\n" in text.strip() else r"[^ \n\r]+", text)


def _entities(types: Sequence[Sequence[str]], words: Sequence[Span]) -> Iterator[Entity]:
    """One entity for each run of tokens with the same type, element by element."""
    number = 0
    for own in types:
        for name, run in itertools.groupby(range(len(own)), key=own.__getitem__):
            first, *others = run
            if name:
                number += 1
                yield Entity(f"T{number}", name, ((words[first][0], words[others[-1] if others else first][1]),))

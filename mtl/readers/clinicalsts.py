"""ClinicalSTS (MedSTS): pairs of clinical sentences with their similarity, in tab-separated text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from heads.rows import TextRow
from mtl.readers import OnBadRow, Reader
from mtl.readers._columns import MalformedError, number_of, text_of
from mtl.readers._members import companions

MOST = 5
"""The highest score."""

_YEARS = ("clinicalSTS", "clinicalSTS2019")


class ClinicalSTS(Reader):
    r"""Pairs of sentences with their similarity from 0 to 5.

    The layout is that of OHNLP 2018 task 2 and n2c2 2019 track 1 (Wang et al. 2018 and 2020), as the task's README and
    public loaders describe it: a pair per line, without a header and without quotes, and in train its score. The
    scores of test are in a file of their own, one per line::

        clinicalSTS.train.txt         A rash. <TAB> A skin rash. <TAB> 4.5
        TextRow("train-1", "train-1", "A rash.", "A skin rash.", label=4.5)
        clinicalSTS.test.txt          Fever. <TAB> No fever.
        clinicalSTS.test.gs.sim.txt   1

    The release has no dev set, which can be cut from train with `split`.

    Args:
        path: Folder of `clinicalSTS.train.txt` and `clinicalSTS.test.txt`, or one such file.
        scores: File of the scores of splits that have them apart, relative to `path`. By default, the name of the
            sentences with `.gs.sim.txt` in place of `.txt`, if there is this file.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        split: (*(f"{year}.{split}" for year in _YEARS), split) for split in ("train", "dev", "test")
    }

    def __init__(
        self,
        path: str,
        *,
        scores: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.scores = scores

    def companions(self) -> dict[str, Path]:
        return companions(self, "scores", self.scores, self._default_scores)

    def _default_scores(self, source: Path) -> Path:
        """The file of the scores of a split, or the sentences themselves if there is none."""
        beside = source.with_name(f"{source.name.removesuffix('.txt')}.gs.sim.txt")
        return beside if self.exists(beside) else source

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        place = self.companions()[split]
        lines = list(self.all_lines(source))
        scores = lines if place == source else list(self.all_lines(place))
        if len(scores) != len(lines):
            found = f"{len(scores)} for {len(lines)}"
            self.bad(place, None, "there must be one line for each line of the sentences", found)
            return
        for line, score in zip(lines, scores, strict=True):
            cells = line.text.split("\t") + ([] if place == source else [score.text])
            if not (line.is_valid and score.is_valid and line.text.strip()):
                continue
            if len(cells) != 3:
                rule = f"a line must have two sentences{' and a score' if place == source else ''}"
                self.bad(source, line.number, rule, f"{len(cells)} columns")
                continue
            try:
                yield _row(f"{split}-{line.number}", *cells)
            except _ScoreError as error:
                self.bad(place, line.number, error.rule, error.found)
            except MalformedError as error:
                self.bad(source, line.number, error.rule, error.found)


class _ScoreError(MalformedError):
    """The score of a line, which may be in another file than its sentences, breaks a rule."""


def _row(name: str, sentence1: str, sentence2: str, score: str) -> TextRow:
    text, text_pair = (text_of("a sentence", sentence.strip()) for sentence in (sentence1, sentence2))
    try:
        label = number_of("the score", score.strip())
    except MalformedError as error:
        raise _ScoreError(error.rule, error.found) from None
    if not 0 <= label <= MOST:
        raise _ScoreError(f"the score must be from 0 to {MOST}", str(label))
    return TextRow(name, name, text, text_pair, label=label)

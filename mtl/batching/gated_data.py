"""The data module of a run: it refuses, reports or leaves out what train shares with dev or test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heads import Head, SpanRow
from mtl.batching.data_module import MixtureData
from mtl.data.examples import prepare
from mtl.data.leakage_gate import Leakage, find_leakage
from mtl.data.sentence_spans import are_single_sentences, reads_sentences
from mtl.problems import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mtl.config.mixture import Mixture

# Runs of studies use `MixtureData`: their plan has found the overlaps of all tasks of the study.
DECIDES_RESULTS = False


class GatedData(MixtureData):
    """Data of a mixture without leakage, as its key `leakage` says.

    Args:
        mixture: Mixture that names the tasks and their data.
        heads: The head of each task.
        tokenizer: The encoder's tokenizer.
        refuses: Whether overlaps with the policy `error` raise an error; if not, they are only recorded, so that a
            checkpoint that was trained with them can be evaluated.
    """

    def __init__(
        self, mixture: Mixture, heads: Mapping[str, Head], tokenizer: PreTrainedTokenizerBase, *, refuses: bool = True
    ) -> None:
        super().__init__(mixture, heads, tokenizer)
        self._refuses = refuses
        self.leakage: Leakage | None = None
        """What the splits share; None before `setup`."""
        self._in_sentences: dict[str, bool] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Reads and encodes the tasks.

        Raises:
            InputError: Data is missing or invalid, or train overlaps with dev or test in a way that is an error.
        """
        if self.tasks:
            return
        self.leakage = find_leakage(self.mixture)
        problems = self.leakage.problems() if self._refuses else []
        if problems:
            raise InputError(problems)
        self.tasks = prepare(self.leakage.applied(self.mixture), self.heads, self.tokenizer)

    def state_dict(self) -> dict[str, Any]:
        """As `MixtureData` has it, with what else a later use of the checkpoint compares.

        `in_sentences` says whether a task learned from rows with sentences or single ones; it has the tasks that pair
        or read mentions within a sentence. `fingerprints` has the hash of the rows of each task and split. `updates`
        has the number of updates per epoch and in all, and that of the steps of an update, during a training.
        """
        if self._in_sentences is None and self.tasks:  # once, because every checkpoint asks for it
            rows = {name: data["train"].rows for name, data in self.tasks.items() if reads_sentences(self.heads[name])}
            spans = {name: table for name, table in rows.items() if isinstance(table[0], SpanRow)}
            self._in_sentences = {name: are_single_sentences(table) for name, table in spans.items()}
        is_training = self.trainer is not None and self.trainer.state.fn == "fit"
        return {
            **super().state_dict(),
            "in_sentences": dict(self._in_sentences or {}),
            "fingerprints": self.fingerprints(),
            "updates": {**self.updates._asdict(), "total": self.total_updates()} if is_training else {},
        }

    def fingerprints(self) -> dict[str, dict[str, str]]:
        """The hash of the rows that are read, by task and split; rows that are left out do not count."""
        return {
            name: {split: part.row_summary.fingerprint for split, part in splits.items()}
            for name, splits in self.tasks.items()
        }

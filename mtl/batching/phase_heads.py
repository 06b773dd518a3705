"""The heads that draw training examples, with the options that the curriculum gives them at each update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from heads import Head
from mtl.config.curriculum import phases
from mtl.config.mixture import build_head

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mtl.config.mixture import Mixture


class PhaseHeads:
    """The head that draws the examples of a task, by update.

    A head with changed options only draws. Which one is used is a function of the update whose batch is prepared, so
    preparing batches ahead and resuming change nothing.

    Args:
        mixture: The mixture.
        heads: The head of each task.
        tokenizer: The encoder's tokenizer.
    """

    def __init__(self, mixture: Mixture, heads: Mapping[str, Head], tokenizer: PreTrainedTokenizerBase) -> None:
        self._phases: list[tuple[int, dict[str, Head]]] = []
        options = {name: spec.options for name, spec in mixture.tasks.items()}
        of_phase = dict(heads)
        for from_step, changed in phases(mixture):
            for name, spec in changed.tasks.items():
                if spec.options != options[name]:
                    of_phase[name] = build_head(spec, hidden_size=1)  # its weights are not used
                    of_phase[name].read_tokenizer(tokenizer)
                    options[name] = spec.options
            self._phases.append((from_step, dict(of_phase)))

    def at(self, task: str, update: int) -> Head:
        """The head of a task at an update, counted from 0."""
        return next(heads[task] for from_step, heads in reversed(self._phases) if from_step <= update)

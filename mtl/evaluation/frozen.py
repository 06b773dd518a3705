"""The trivial predictor `frozen`: linear models on states of the encoder without fine-tuning.

Heads choose the features and the model (`heads.Head.fit_frozen`). This module computes the states, and caches the
weights and the scores, so that each is computed once for a task, whatever runs and studies ask for it. No states are
stored.

Shapes: B inputs, T tokens of the longest input, G groups of tokens of an input, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from heads import Head, PooledInput, Prediction, Row
from mtl.code_identity import code_identity
from mtl.data.store import CHUNK, Store, content_key
from mtl.encoder.location import encoder_identity
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.evaluation.baselines import Scores, scores_at_goal, usable_rows
from mtl.problems import InputError
from mtl.redaction import reason
from mtl.seeding import separate_draws
from mtl.single_precision import single_precision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mtl.config.mixture import EncoderSpec, Mixture
    from mtl.data.examples import TaskData
    from mtl.encoder.model import Encoder

DECIDES_RESULTS = False

TOKENS = 4096
"""Maximum number of tokens in one pass of the encoder; a longer input has a pass of its own."""

Weights = npt.NDArray[np.float32]


class FrozenModel:
    """An encoder without fine-tuning. It is loaded when it is first needed, so no training has changed it.

    Args:
        spec: The encoder.
        device: Device that computes the states.
    """

    def __init__(self, spec: EncoderSpec, device: torch.device) -> None:
        as_it_comes = {"gradient_checkpointing": False, "freeze_layers": 0, "reinit_layers": None}
        self._spec = spec.model_copy(update=as_it_comes)
        self._device = device

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The encoder's tokenizer, without tokens of the heads, whose embeddings would be random."""
        return load_tokenizer(self._spec)

    @property
    def hidden_size(self) -> int:
        """H."""
        return self._encoder.hidden_size

    def states(self, fields: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float32]:
        """The last hidden states of some inputs, computed in float32 and without dropout, [B, T, H]."""
        layout = Layout([len(one["input_ids"]) for one in fields])
        inputs = [layout.packed([one["input_ids"] for one in fields])]
        if all(one.get("token_type_ids") is not None for one in fields):
            inputs.append(layout.packed([one["token_type_ids"] for one in fields]))
        ids, *types = (tensor.to(self._device) for tensor in inputs)
        with torch.no_grad(), single_precision(self._device):
            states = self._encoder(ids, layout.map(lambda tensor: tensor.to(self._device)), *types)
        array: npt.NDArray[np.float32] = states.cpu().numpy()
        return array

    @cached_property
    def _encoder(self) -> Encoder:
        # transformers draws weights that an encoder lacks, on the CPU; the draws of a run must not depend on it.
        with separate_draws(), single_precision(self._device):
            return load_encoder(self._spec, self.tokenizer, 0).to(self._device).eval()


class FrozenStates:
    """Mean states of an encoder without fine-tuning, for one task; satisfies `heads.FrozenEncoder`.

    Args:
        model: The encoder.
        max_length: Maximum number of tokens of an input, special tokens included.
    """

    def __init__(self, model: FrozenModel, max_length: int) -> None:
        self._model, self.max_length = model, max_length

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The encoder's tokenizer, without added tokens."""
        return self._model.tokenizer

    def means(self, inputs: Sequence[PooledInput]) -> list[npt.NDArray[np.float32]]:
        """The mean state of each group of tokens of each input: one array [G, H] per input, in order."""
        found: dict[int, npt.NDArray[np.float32]] = {}
        for batch in _batches({index: len(one.fields["input_ids"]) for index, one in enumerate(inputs) if one.groups}):
            found |= zip(batch, self._means([inputs[index] for index in batch]), strict=True)
        none = np.zeros((0, self._model.hidden_size), dtype=np.float32)
        return [found.get(index, none) for index in range(len(inputs))]

    def _means(self, inputs: Sequence[PooledInput]) -> list[npt.NDArray[np.float32]]:
        states = self._model.states([one.fields for one in inputs])  # [B, T, H]
        tokens = np.array([(i, token) for i, one in enumerate(inputs) for group in one.groups for token in group])
        sizes = np.array([len(group) for one in inputs for group in one.groups])
        sums = np.add.reduceat(states[tokens[:, 0], tokens[:, 1]], np.cumsum(sizes) - sizes, axis=0)
        ends = np.cumsum([len(one.groups) for one in inputs])
        return np.split((sums / sizes[:, None]).astype(np.float32), ends[:-1])


class FrozenBaseline:
    """The scores of `frozen` on the tasks of a mixture, computed once and then read from the cache.

    If several processes need the same scores at the same time, one computes them and the others wait.

    Args:
        mixture: The tasks and the encoder.
        device: Device that computes the states.
        store: Cache of weights and scores; None uses the default folder.
    """

    def __init__(self, mixture: Mixture, device: torch.device | str = "cpu", store: Store | None = None) -> None:
        self._mixture, self._store = mixture, store or Store()
        self._model = FrozenModel(mixture.encoder, torch.device(device))
        self.problem: str | None = None
        """Why scores are missing; None if none are."""

    def __call__(self, task: str, head: Head, splits: TaskData, split: str) -> Scores | None:
        """The scores on a split; None if the head has no such predictor or the encoder is not available.

        Args:
            task: Name of the task.
            head: Its head.
            splits: Its splits.
            split: Name of the split to score.
        """
        if self.problem is None:
            try:
                return self._scores(task, head, splits, split)
            except (InputError, torch.OutOfMemoryError) as error:
                self.problem = reason(error)
        return None

    def _scores(self, task: str, head: Head, splits: TaskData, split: str) -> Scores | None:
        key = content_key("frozen", self._identity(task, head, splits))

        def build() -> tuple[Iterable[Mapping[str, Any]], Callable[[], Any]]:
            scores = self._scored(task, head, splits, split, key)
            return [], lambda: scores

        scored = [splits[name].row_summary.fingerprint for name in (split, *_tuned_on(head, splits))]
        scores: Scores | None = self._store.table(content_key("frozen scores", key, *scored), build)[1]
        return scores

    def _scored(self, task: str, head: Head, splits: TaskData, split: str, key: str) -> Scores | None:
        rows = usable_rows(head, splits[split].rows)
        states = FrozenStates(self._model, self._mixture.max_length_of(task))
        weights = self._weights(head, splits, states, key) if rows else None
        if weights is None:
            return None

        def predict(rows: Sequence[Row]) -> list[Prediction]:
            chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
            return [one for chunk in chunks for one in head.predict_frozen(chunk, weights, states)]

        dev = [row for name in _tuned_on(head, splits) for row in usable_rows(head, splits[name].rows)]
        return scores_at_goal(head, predict, rows, dev)

    def _weights(self, head: Head, splits: TaskData, states: FrozenStates, key: str) -> Weights | None:
        def build() -> tuple[Iterable[Mapping[str, Any]], Callable[[], Any]]:
            fitted = head.fit_frozen(usable_rows(head, splits["train"].rows), states)
            lines = [] if fitted is None else fitted.tolist()
            return [{"weights": line} for line in lines], lambda: fitted is not None

        table, is_fitted = self._store.table(content_key("frozen weights", key), build)
        return np.array([line["weights"] for line in table], dtype=np.float32) if is_fitted else None

    def _identity(self, task: str, head: Head, splits: TaskData) -> list[Any]:
        """Everything that decides the weights."""
        spec = self._mixture.tasks[task]
        return [
            _code_of(type(head)),
            encoder_identity(self._mixture.encoder),
            self._mixture.encoder.num_layers,
            self._mixture.max_length_of(task),
            spec.labels,
            spec.head_options,
            splits["train"].row_summary.fingerprint,
        ]


@cache
def _code_of(head_class: type[Head]) -> str:
    """A hash of the code that computes the scores, computed once per head."""
    return code_identity(FrozenBaseline, head_class, everything=True)


def _tuned_on(head: Head, splits: TaskData) -> list[str]:
    """The split on which trivial predictors choose thresholds, if the head chooses them."""
    return ["dev"] if head.is_tuned and "dev" in splits else []


def _batches(lengths: Mapping[int, int]) -> Iterator[list[int]]:
    """Keys of inputs of similar length, with at most `TOKENS` tokens together.

    >>> [len(batch) for batch in _batches({0: 3000, 1: 2000, 2: 2000, 3: 5000})]
    [1, 1, 2]
    """
    batch: list[int] = []
    for index in sorted(lengths, key=lambda index: -lengths[index]):
        if batch and sum(lengths[one] for one in batch) + lengths[index] > TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch

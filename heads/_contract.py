"""What a head and the framework exchange: examples, predictions, decisions, and what a head may read of the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""Label of everything that must not be learned: padding, tokens after the first of a word, anything not annotated."""

Example = dict[str, Any]
"""One input of the encoder with its labels, as numbers and lists that Arrow can store.

Every example has these keys:

- `row`: index of its row among the rows given to `Head.encode`
- `input_ids`: token ids with special tokens, at most `max_length` of them in each sequence
- `token_type_ids`: only if the tokenizer makes them
- `sequence_lengths`: only if examples of the head may have several sequences, which the encoder computes separately and
  in the same pass; the number of tokens of each sequence, while `input_ids` and `token_type_ids` hold all sequences one
  after the other
- `targets`: what the example adds to the count that `Head.loss` returns
- `truncated`: whether text was lost because of `max_length`

All other keys belong to the head. All examples of a head have the same keys, and the values of a key have one type.
"""

Prediction = dict[str, Any]
"""The prediction for one row in the terms of the row (label names, character offsets, relations), as JSON types."""


class LoadedEncoder(Protocol):
    """What a head may read of the shared encoder in `Head.attach`."""

    @property
    def config(self) -> Any:
        """The configuration of the Hugging Face model."""

    @property
    def shipped(self) -> Mapping[str, Tensor] | None:
        """Weights of the checkpoint that the encoder itself does not use, such as those of a pooler.

        They have the names that they have in the class for sequence classification. None if the encoder was built
        without weights, because those of a run's checkpoint will be loaded into it and into the heads.
        """

    @property
    def token_embeddings(self) -> nn.Embedding:
        """The table of token embeddings, which a head may use but must not register as a module of its own.

        Its weight stays the encoder's: in the optimiser, when it is frozen, in checkpoints, and where gradients are
        averaged over processes.
        """

    @property
    def model(self) -> Any:
        """The Hugging Face model, which a head may generate with but must not register as a module of its own."""

    def causal_lm_weights(self) -> Mapping[str, Tensor] | None:
        """The weights of the checkpoint's head for causal language modelling.

        They have the names that they have in the family's class for causal language modelling. Weights that the
        checkpoint lacks are left out. None if the encoder was built without weights.
        """

    def masked_lm_weights(self) -> Mapping[str, Tensor] | None:
        """The weights of the checkpoint's head for masked language modelling.

        They have the names that they have in the family's class for masked language modelling. Weights that the
        checkpoint lacks are left out. None if the encoder was built without weights.
        """


class ClassReport(NamedTuple):
    """Scores of each class.

    Args:
        per_class: Scores by class, such as precision, recall, F1 and support.
        classes: Names of the rows and columns of `confusion`.
        confusion: `confusion[i][j]` counts gold class `classes[i]` predicted as `classes[j]`. None if the head has no
            confusion matrix.
    """

    per_class: dict[str, dict[str, float]]
    classes: tuple[str, ...]
    confusion: list[list[int]] | None


class Decisions(NamedTuple):
    """What a head decided in some rows, how probable it found each class, and what is right.

    Shapes: n decisions, C classes, M predictions.

    Args:
        probabilities: Softmax probabilities, or sigmoid probabilities of labels that do not exclude each other, [n, C].
        gold: Index of the gold class, [n], or 0 or 1 for each label, [n, C]; `IGNORE` where it is not known.
        chosen: What was decided, in the form of `gold`, without `IGNORE`.
        spans: Predictions that cover several decisions, such as entities of several words: the first decision, the end
            (exclusive), and 1 if the prediction is right, otherwise 0, [M, 3]. None if each decision is a prediction.
    """

    probabilities: Tensor
    gold: Tensor
    chosen: Tensor
    spans: Tensor | None = None


class PooledInput(NamedTuple):
    """One input of the encoder, and the groups of its tokens whose states are averaged.

    Args:
        fields: `input_ids` and, if the tokenizer makes them, `token_type_ids`; other fields are ignored.
        groups: Indices of tokens; no group is empty.
    """

    fields: Mapping[str, Any]
    groups: Sequence[Sequence[int]]


class FrozenEncoder(Protocol):
    """The encoder without fine-tuning, for `Head.fit_frozen`."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The encoder's tokenizer, without added tokens."""

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of an input, special tokens included."""

    def means(self, inputs: Sequence[PooledInput]) -> list[npt.NDArray[np.float32]]:
        """The mean state of each group of each input: one array [number of groups, H] per input."""

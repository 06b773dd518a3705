"""Shared code of the heads for whole texts: encoding a text or a pair, pooling, and checks of labels and options.

Shapes: B examples, T tokens, H hidden size, C classes, O outputs.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from heads import Example, Head, Row, TextRow, projection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


class TextHead(Head):
    """A head that predicts from one vector for each text or pair.

    The vector is the state of the first token ([CLS]), as in BERT and MT-DNN, or the mean over all tokens.

    Args:
        labels: Names of the classes; empty for a regression.
        hidden_size: H of the encoder.
        num_outputs: O, the number of logits of an example.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        pooling: "cls" for the state of the first token, "mean" for the mean over the states of all tokens, with which
            sentence encoders such as all-MiniLM were trained (Reimers and Gurevych 2019).

    Raises:
        ValueError: `pooling` is neither of the two.
    """

    row_type = TextRow

    def __init__(  # noqa: PLR0917  # every head in this package calls it
        self,
        labels: Sequence[str],
        hidden_size: int,
        num_outputs: int,
        dropout: float,
        hidden_layer: int | None,
        pooling: str,
    ) -> None:
        super().__init__(labels, hidden_size)
        self.pooling = choice("pooling", pooling, ("cls", "mean"))
        self.output = projection(hidden_size, num_outputs, dropout=dropout, hidden_layer=hidden_layer)

    @abstractmethod
    def gold(self, row: TextRow) -> dict[str, Any]:
        """The head's own fields of an example; if the row is not labelled, with values that are ignored."""

    def is_labelled(self, row: Row) -> bool:
        return text_row(row).label is not None

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """One example for each row; unlabelled rows are left out for training."""
        kept = [(i, text_row(row)) for i, row in enumerate(rows) if self.is_labelled(row) or not training]
        encoded = encode_texts([text_of(row) for _, row in kept], tokenizer, max_length)
        return [
            {"row": i, **inputs, "targets": int(self.is_labelled(row)), **self.gold(row)}
            for (i, row), inputs in zip(kept, encoded, strict=True)
        ]

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, O] from the pooled states."""
        if self.pooling == "cls":
            pooled = states[:, 0]  # [B, T, H] -> [B, H]
        else:
            counted = mask.unsqueeze(-1)  # [B, T, 1]
            pooled = (states * counted).sum(1) / counted.sum(1)
        logits: Tensor = self.output(pooled)
        return logits


def encode_texts(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Example]:
    """The fields `input_ids`, `token_type_ids` (if the tokenizer makes them) and `truncated` of each text or pair.

    Args:
        texts: Texts or pairs of texts; the longer text of a pair is truncated first.
        tokenizer: A fast tokenizer.
        max_length: Maximum number of tokens, special tokens included.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation="longest_first", max_length=max_length, return_attention_mask=False)
    assert encoded.encodings is not None, "only fast tokenizers report what they cut off"
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    # A text of exactly the maximum length may be complete, so truncation is read from what the tokenizer cut off.
    return [
        {**{name: encoded[name][i] for name in names}, "truncated": bool(encoding.overflowing)}
        for i, encoding in enumerate(encoded.encodings)
    ]


def text_of(row: TextRow) -> Text:
    """The text of a row, or its pair of texts."""
    return row.text if row.text_pair is None else (row.text, row.text_pair)


def text_row(row: Row) -> TextRow:
    """The row as a `TextRow`; rows of other types are rejected before a head sees them."""
    assert isinstance(row, TextRow), type(row)
    return row


# --- checks -----------------------------------------------------------------------------------------------------------


def wrong_class(label: object, labels: Sequence[str]) -> str | None:
    """The problem of a class name that is not in `labels`, or None.

    The name is quoted only if it is similar to a valid one or a single short word. Anything longer may be a text from
    the wrong column, so only its length is given.

    >>> wrong_class("mabye", ["yes", "no", "maybe"])
    "the label must be one of: yes, no, maybe; got 'mabye' (did you mean 'maybe'?)"
    >>> wrong_class("The patient was well.", ["yes", "no"])
    'the label must be one of: yes, no; got a text of 21 characters'
    >>> wrong_class("YES", ["yes", "no"])
    "the label must be one of: yes, no; got 'YES' (did you mean 'yes'?)"
    """
    if isinstance(label, str) and label in labels:
        return None
    return f"the label must be one of: {', '.join(labels)}; got {describe(label, labels)}"


def describe(label: object, labels: Sequence[str] = ()) -> str:
    """A description of a label for messages, without text of a row.

    Args:
        label: The label as it was read.
        labels: Valid names, the most similar of which is suggested.

    >>> describe(2.5), describe(("a", "b")), describe(None)
    ('the number 2.5', 'a list of length 2', 'nothing')
    """
    if label is None:
        return "nothing"
    if isinstance(label, tuple | list):
        return f"a list of length {len(label)}"
    if not isinstance(label, str):
        return f"the number {label}"
    nearest = _nearest(label, labels)
    if nearest is not None:
        return f"'{label}' (did you mean '{nearest}'?)"
    is_word = 0 < len(label) <= 32 and not any(character.isspace() for character in label)
    return f"'{label}'" if is_word else f"a text of {len(label)} characters"


def _nearest(label: str, labels: Sequence[str]) -> str | None:
    """The valid name that is most similar, ignoring case; None if none is similar."""
    by_letters = {name.casefold(): name for name in labels}
    similar = difflib.get_close_matches(label.casefold(), list(by_letters), n=1, cutoff=0.6)
    return by_letters[similar[0]] if similar else None


def choice(option: str, name: str, choices: Iterable[str]) -> str:
    """The name, if it is one of the choices.

    Args:
        option: Name of the option, with which the message begins.
        name: Value of the option.
        choices: Allowed values.

    Raises:
        ValueError: The name is not one of the choices; the message suggests the most similar one.

    >>> choice("primary_metric", "acuracy", ["accuracy", "macro_f1"])
    Traceback (most recent call last):
    ValueError: primary_metric must be one of: accuracy, macro_f1; got 'acuracy' (did you mean 'accuracy'?)
    """
    choices = list(choices)
    if name not in choices:
        raise ValueError(f"{option} must be one of: {', '.join(choices)}; got {describe(name, choices)}")
    return name


def class_names(labels: Sequence[str], at_least: int) -> tuple[str, ...]:
    """The class names, if there are enough of them and they are unique.

    Raises:
        ValueError: There are fewer than `at_least`, or one occurs twice.
    """
    if len(labels) < at_least:
        raise ValueError(f"labels must have at least {at_least} names, got {len(labels)}")
    repeated = sorted(name for name, number in Counter(labels).items() if number > 1)
    if repeated:
        raise ValueError(f"labels must be unique, got {', '.join(repeated)} more than once")
    return tuple(labels)


def weights_of(weights: Mapping[str, float], labels: Sequence[str]) -> Tensor:
    """The weight of each class in the loss, [C]; 1 for classes without an entry in `weights`.

    Raises:
        ValueError: A name is not a class, or a weight is not above 0 and finite.
    """
    for name, weight in weights.items():
        choice("class_weights", name, labels)
        if not 0 < weight < float("inf"):
            raise ValueError(f"class_weights.{name} must be above 0 and finite, got {weight}")
    return torch.tensor([float(weights.get(name, 1.0)) for name in labels])

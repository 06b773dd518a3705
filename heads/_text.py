"""What the heads over whole texts share: encoding a text or a pair, reading [CLS], and wording what is wrong.

Shapes: B examples, T tokens, H hidden size, O outputs.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
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
    """A head that reads one vector a row: the state of the first token ([CLS]), as BERT and MT-DNN do, or the mean.

    Args:
        labels: The names of the classes; empty for a regression.
        hidden_size: H of the encoder.
        num_outputs: O, the logits of an example.
        dropout: Share of the vector's (and the hidden layer's) units that training drops.
        hidden_layer: Units of a GELU layer before the last; None has none.
        pooling: "cls": the state of the first token. "mean": the mean of the states of all tokens, with which
            sentence encoders such as all-MiniLM were trained (Reimers & Gurevych 2019).
    """

    row_type = TextRow

    def __init__(  # noqa: PLR0917  # one call for each of the heads in this folder
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
        """The head's own fields of an example; a filler where the row is not labelled."""

    def is_labelled(self, row: Row) -> bool:
        return text_row(row).label is not None

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """One example a row; unlabelled rows are left out of training."""
        kept = [(i, text_row(row)) for i, row in enumerate(rows) if self.is_labelled(row) or not training]
        encoded = encode_texts([text_of(row) for _, row in kept], tokenizer, max_length)
        return [
            {"row": i, **inputs, "targets": int(self.is_labelled(row)), **self.gold(row)}
            for (i, row), inputs in zip(kept, encoded, strict=True)
        ]

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, O] from one vector of each text."""
        if self.pooling == "cls":
            pooled = states[:, 0]  # [B, T, H] -> [B, H]
        else:
            counted = mask.unsqueeze(-1)  # [B, T, 1]
            pooled = (states * counted).sum(1) / counted.sum(1)
        logits: Tensor = self.output(pooled)
        return logits


def encode_texts(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Example]:
    """`input_ids`, `token_type_ids` where the tokenizer makes them, and `truncated`, for every text or pair.

    The longer text of a pair loses its end first. All of it is one call of the fast tokenizer, which keeps what it
    cut off; that, and not a length equal to the maximum, tells that text was lost.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation="longest_first", max_length=max_length, return_attention_mask=False)
    assert encoded.encodings is not None, "only fast tokenizers tell what they cut off"
    names = [name for name in ("input_ids", "token_type_ids") if name in encoded]
    return [
        {**{name: encoded[name][i] for name in names}, "truncated": bool(encoding.overflowing)}
        for i, encoding in enumerate(encoded.encodings)
    ]


def text_of(row: TextRow) -> Text:
    """The text of a row, or its pair in the order of the row."""
    return row.text if row.text_pair is None else (row.text, row.text_pair)


def text_row(row: Row) -> TextRow:
    """The row as a `TextRow`; rows of another type never get as far as this."""
    assert isinstance(row, TextRow), type(row)
    return row


# --- wording ----------------------------------------------------------------------------------------------------------


def wrong_class(label: object, labels: Sequence[str]) -> str | None:
    """What is wrong with one class name, or None.

    A name is shown where it is near a right one or is a single short word; a longer one may be a text that stands
    in the wrong column, so only its length is told.

    >>> wrong_class("mabye", ["yes", "no", "maybe"])
    "the label must be one of: yes, no, maybe; found 'mabye' (did you mean 'maybe'?)"
    >>> wrong_class("The patient was well.", ["yes", "no"])
    'the label must be one of: yes, no; found a text of 21 characters'
    >>> wrong_class("YES", ["yes", "no"])
    "the label must be one of: yes, no; found 'YES' (did you mean 'yes'?)"
    """
    if isinstance(label, str) and label in labels:
        return None
    return f"the label must be one of: {', '.join(labels)}; found {describe(label, labels)}"


def describe(label: object, labels: Sequence[str] = ()) -> str:
    """What a label is, without the text of a row.

    >>> describe(2.5), describe(("a", "b")), describe(None)
    ('the number 2.5', 'a list of 2', 'nothing')
    """
    if label is None:
        return "nothing"
    if isinstance(label, tuple | list):
        return f"a list of {len(label)}"
    if not isinstance(label, str):
        return f"the number {label}"
    found = _nearest(label, labels)
    if found is not None:
        return f"'{label}' (did you mean '{found}'?)"
    is_word = 0 < len(label) <= 32 and not any(character.isspace() for character in label)
    return f"'{label}'" if is_word else f"a text of {len(label)} characters"


def _nearest(label: str, labels: Sequence[str]) -> str | None:
    """The right name that was probably meant, whatever its case; None where none is near."""
    by_letters = {name.casefold(): name for name in labels}
    found = difflib.get_close_matches(label.casefold(), list(by_letters), n=1, cutoff=0.6)
    return by_letters[found[0]] if found else None


def choice(option: str, name: str, choices: Iterable[str]) -> str:
    """The name, if it is one of the choices of an option.

    Raises:
        ValueError: It isn't; the message names the choices and the nearest.

    >>> choice("primary_metric", "acuracy", ["accuracy", "macro_f1"])
    Traceback (most recent call last):
    ValueError: primary_metric must be one of: accuracy, macro_f1; found 'acuracy' (did you mean 'accuracy'?)
    """
    choices = list(choices)
    if name not in choices:
        raise ValueError(f"{option} must be one of: {', '.join(choices)}; found {describe(name, choices)}")
    return name


def class_names(labels: Sequence[str], at_least: int) -> tuple[str, ...]:
    """The class names, if there are enough and all differ.

    Raises:
        ValueError: There are too few, or one occurs twice.
    """
    if len(labels) < at_least:
        raise ValueError(f"labels must name at least {at_least} classes; found {len(labels)}")
    twice = sorted({name for name in labels if list(labels).count(name) > 1})
    if twice:
        raise ValueError(f"labels must differ from each other; found more than once: {', '.join(twice)}")
    return tuple(labels)


def weights_of(given: Mapping[str, float], labels: Sequence[str]) -> Tensor:
    """The weight of each class in the loss, [C]; 1 for those that are not named.

    Raises:
        ValueError: A name is no class, or a weight is not above 0.
    """
    for name, weight in given.items():
        choice("class_weights", name, labels)
        if not 0 < weight < float("inf"):
            raise ValueError(f"class_weights.{name} must be above 0; found {weight}")
    return torch.tensor([float(given.get(name, 1.0)) for name in labels])

"""Shared code of the heads for whole texts: how they are read, and checks of labels and options.

Shapes: B examples, P texts per example, W windows of a text, S sequences, T tokens, H hidden size, C classes,
O outputs.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from heads import Example, Head, LoadedEncoder, Row, SpanRow, TextRow, projection
from heads._pooling import Pooling, SequencePooling, WindowCombination, WindowPooling
from heads._sequences import Text, encode_cut, encode_windows, joined, sequence_indices

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pair = Literal["together", "apart"]
Long = Literal["cut", "windows"]


class Reading(NamedTuple):
    """How a head reads the texts of a row.

    Args:
        pooling: One vector for each sequence: "cls" for the state of the first token, "mean" for the mean over the
            states of all tokens, "pooler" for the pooling of transformers' class for sequence classification of the
            encoder's family, "last" for the state of the last token; None takes "last" for a causal encoder and "cls"
            for any other.
        pair: "together" reads the two texts of a pair as one sequence. "apart" encodes each alone and compares their
            vectors (Reimers and Gurevych 2019); all rows must then be pairs.
        long: What happens to texts above the maximum length: "cut" truncates them, "windows" splits them into
            overlapping windows. A pair that is read together is split within its second text.
        window_pooling: One vector for each text from those of its windows.
        stride: Number of tokens by which windows overlap, at most half a window.
    """

    pooling: Pooling | None = None
    pair: Pair = "together"
    long: Long = "cut"
    window_pooling: WindowPooling = "max"
    stride: int = 32

    @property
    def num_texts(self) -> int:
        """P, the number of texts of an example that are encoded separately."""
        return 2 if self.pair == "apart" else 1

    @property
    def has_several_sequences(self) -> bool:
        """Whether an example may have several sequences."""
        return self.pair == "apart" or self.long == "windows"

    def check(self) -> None:
        """Checks the values.

        Raises:
            ValueError: A value is not one of the choices, or the stride is negative.
        """
        if self.pooling is not None:
            choice("pooling", self.pooling, get_args(Pooling))
        choice("pair", self.pair, get_args(Pair))
        choice("long", self.long, get_args(Long))
        choice("window_pooling", self.window_pooling, get_args(WindowPooling))
        if self.stride < 0:
            raise ValueError(f"stride must be at least 0, got {self.stride}")


class TextHead(Head):
    """A head that predicts from one vector for each text or pair.

    If the texts of a pair are read apart, the output layer reads [u, v, |u - v|, u * v] of their vectors u and v.

    Args:
        labels: Names of the classes; empty for a regression.
        hidden_size: H of the encoder.
        num_outputs: O, the number of logits of an example; None for a head that computes them without an output layer.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        reading: How texts are read.

    Raises:
        ValueError: A value of `reading` is invalid.
    """

    row_type = TextRow

    def __init__(  # noqa: PLR0917  # every head in this package calls it
        self,
        labels: Sequence[str],
        hidden_size: int,
        num_outputs: int | None,
        dropout: float,
        hidden_layer: int | None,
        reading: Reading,
    ) -> None:
        super().__init__(labels, hidden_size)
        reading.check()
        self.reading = reading
        self.pooling = SequencePooling(reading.pooling, dropout)
        self.windows = WindowCombination(reading.window_pooling, hidden_size) if reading.long == "windows" else None
        self.output: torch.nn.Module | None = None
        if num_outputs is not None:
            width = hidden_size if reading.pair == "together" else 4 * hidden_size
            self.output = projection(width, num_outputs, dropout=dropout, hidden_layer=hidden_layer)

    @abstractmethod
    def gold(self, row: TextRow) -> dict[str, Any]:
        """The head's own fields of an example; if the row is not labelled, with values that are ignored."""

    @abstractmethod
    def collate_gold(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The fields of `gold` as tensors whose first axis is B."""

    def encoder_problem(self, config: Any) -> str | None:
        return self.pooling.encoder_problem(config)

    def attach(self, encoder: LoadedEncoder) -> str | None:
        return self.pooling.attach(encoder)

    def is_labelled(self, row: Row) -> bool:
        return text_row(row).label is not None or text_row(row).probabilities is not None

    def pair_problem(self, row: Row) -> str | None:
        """The problem of a row that has one text where two are read apart, or None."""
        if self.reading.pair == "together" or row.text_pair is not None:
            return None
        return "the row must have a text_pair, because the option pair is 'apart'; got one text"

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """One example for each row; unlabelled rows are left out for training."""
        kept = [(i, text_row(row)) for i, row in enumerate(rows) if self.is_labelled(row) or not training]
        encoded = encode_texts([text_of(row) for _, row in kept], tokenizer, max_length, self.reading)
        return [
            {"row": i, **inputs, "targets": int(self.is_labelled(row)), **self.gold(row)}
            for (i, row), inputs in zip(kept, encoded, strict=True)
        ]

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """The fields of `collate_gold`, and `sequences` [B, P, W] if examples may have several of them."""
        fields = self.collate_gold(examples)
        if self.reading.has_several_sequences:
            fields["sequences"] = sequence_indices(examples, self.reading.num_texts)
        return fields

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, O] from the pooled states."""
        vectors = self.pooling(states, mask)  # [S, T, H] -> [S, H]
        return self.logits(self._by_text(vectors, fields))

    def logits(self, vectors: Tensor) -> Tensor:
        """Logits [B, O] from the vectors of the texts, [B, P, H]."""
        assert self.output is not None, "a head without an output layer must override `logits`"
        logits: Tensor = self.output(pair_features(vectors) if self.reading.pair == "apart" else vectors[:, 0])
        return logits

    def _by_text(self, vectors: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """The vectors of the texts of each example, [S, H] -> [B, P, H]."""
        if not self.reading.has_several_sequences:
            return vectors.unsqueeze(1)
        sequences = fields["sequences"]  # [B, P, W]
        of_windows = vectors[sequences.clamp(min=0)]  # [B, P, W, H]
        if self.windows is None:
            return of_windows[:, :, 0]
        combined: Tensor = self.windows(of_windows, sequences >= 0)
        return combined


def pair_features(vectors: Tensor) -> Tensor:
    """[u, v, |u - v|, u * v] of the vectors of two texts, [B, 2, H] -> [B, 4H].

    >>> pair_features(torch.tensor([[[1.0], [3.0]]])).tolist()
    [[1.0, 3.0, 2.0, 3.0]]
    """
    u, v = vectors.unbind(1)
    return torch.cat([u, v, (u - v).abs(), u * v], dim=-1)


def encode_texts(
    texts: Sequence[Text],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    reading: Reading | None = None,
) -> list[Example]:
    """The inputs of each text or pair: `input_ids`, `token_type_ids` (if the tokenizer makes them) and `truncated`.

    `sequence_lengths` and `windows`, the number of sequences of each text, are added if there may be several sequences.

    Args:
        texts: Texts or pairs of texts.
        tokenizer: A fast tokenizer.
        max_length: Maximum number of tokens of a sequence, special tokens included.
        reading: How texts are read; None takes the defaults.
    """
    reading = reading or Reading()
    if not reading.has_several_sequences:
        return [{**cut.sequences[0], "truncated": cut.truncated} for cut in encode_cut(texts, tokenizer, max_length)]
    split = [text for pair in texts for text in pair] if reading.pair == "apart" else list(texts)
    if reading.long == "windows":
        cuts = encode_windows(split, tokenizer, max_length, reading.stride)
    else:
        cuts = encode_cut(split, tokenizer, max_length)
    size = reading.num_texts
    return [joined(cuts[start : start + size]) for start in range(0, len(cuts), size)]


def text_of(row: TextRow) -> Text:
    """The text of a row, or its pair of texts."""
    return row.text if row.text_pair is None else (row.text, row.text_pair)


def text_row(row: Row) -> TextRow:
    """The row as a `TextRow`; rows of other types are rejected before a head sees them."""
    assert isinstance(row, TextRow), type(row)
    return row


def span_row(row: Row) -> SpanRow:
    """The row as a `SpanRow`; rows of other types are rejected before a head sees them."""
    assert isinstance(row, SpanRow), type(row)
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
        raise ValueError(f"labels must have at least {at_least} name{'s' if at_least > 1 else ''}, got {len(labels)}")
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

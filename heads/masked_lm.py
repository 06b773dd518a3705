"""Masked language modelling: the tokens of a text that are hidden from the encoder are predicted.

These conventions hold in training, scoring and baselines:

- A text is cut into chunks of similar length that fit `max_length`, between words. No token is lost.
- Special tokens, and those that heads have added, are never masked.
- Training examples are masked each time that they are put in a batch (`draw`), so every pass has new masks.
- For evaluation, each text is masked once, whatever the options for training are and whatever `max_length` is: single
  tokens at `evaluation_rate`, all replaced by the mask token, drawn from `evaluation_seed` and the text. So scores of
  different trainings of one encoder compare. The rate of 0.15 is that of BERT (Devlin et al. 2019).
- Logits are computed at masked tokens only. The output layer is the encoder's table of token embeddings.

Shapes: B examples, T tokens, H hidden size, V vocabulary, K masked tokens of an example on average, rounded up, E size
of the token embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from heads import IGNORE, ClassReport, Example, Head, LoadedEncoder, Prediction, Row, SpanRow, TextRow
from heads._chunks import Surroundings, WordedTokens, Words, worded_tokens
from heads._masking import NEVER, Masking, Replacement, Selection, Unit, Vocabulary, checked_shares
from heads._metrics import selected_metrics
from heads._mlm_families import MlmFamily, default_family, family_of
from heads._text import choice
from heads._unigrams import Unigrams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_EXPONENT = 700.0
"""Largest mean loss whose exponential is computed, so that a perplexity is finite."""


class MaskedLM(Head):
    """Predicts masked tokens from the states of the encoder, whose token embeddings are also the output layer.

    The layers between are those of transformers' class for masked language modelling of the encoder's family. They
    start from the weights of the encoder's checkpoint if it has them, and otherwise from random ones; `attach` says so.

    Predictions are ``{"masked", "right", "loss"}``: the number of masked tokens, how many of them were predicted
    right, and the sum of their losses. The gold tokens are part of the text, so a prediction has no meaning without
    them.

    Metrics:

    - `accuracy`: share of the masked tokens that are predicted right
    - `perplexity`: exponential of the mean loss of a masked token; lower is better

    Args:
        labels: None; the vocabulary is that of the tokenizer.
        hidden_size: H of the encoder.
        rate: Share of the tokens, or words, to mask in training, between 0 and 1.
        unit: "token" masks single tokens; "word" masks all tokens of a word together.
        words: "pretokens" for the words of the tokenizer's pre-tokenizer, for which punctuation is a word of its own,
            as in BERT's whole-word masking; "whitespace" for everything between two blanks.
        selection: "bernoulli" draws each token or word on its own; "exact" masks the same share of every example, as
            in BERT's own code.
        replace: Shares of the masked tokens that are replaced by the mask token, replaced by a random token, and kept.
            A share that is not given is 0.
        evaluation_rate: Share of the tokens to mask in evaluations.
        evaluation_seed: Seed of the masks of evaluations.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: There are labels, a rate is not between 0 and 1, or the shares do not add up to 1.
    """

    other_names = ("mlm", "masked_language_modeling", "masked_language_model", "fill_mask", "language_modeling")
    row_type = (TextRow, SpanRow)
    lower_is_better = frozenset({"loss", "perplexity"})
    self_supervised: ClassVar[bool] = True
    changeable = ("rate", "unit", "selection", "replace")

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        rate: float = 0.15,
        unit: Unit = "token",
        words: Words = "pretokens",
        selection: Selection = "bernoulli",
        replace: Mapping[Replacement, float] = MappingProxyType({"mask": 0.8, "random": 0.1, "keep": 0.1}),
        evaluation_rate: float = 0.15,
        evaluation_seed: int = 0,
        primary_metric: str = "accuracy",
    ) -> None:
        super().__init__(labels, hidden_size)
        if labels:
            raise ValueError(f"labels must be left out, got {len(labels)}")
        for option, share in (("rate", rate), ("evaluation_rate", evaluation_rate)):
            if not 0 < share < 1:
                raise ValueError(f"{option} must be above 0 and below 1, got {share}")
        choice("unit", unit, get_args(Unit))
        choice("selection", selection, get_args(Selection))
        self._words: Words = "pretokens" if choice("words", words, get_args(Words)) == "pretokens" else "whitespace"
        self.masking = Masking(rate, unit, selection, checked_shares(replace))
        self._evaluation = Masking(evaluation_rate, "token", "exact")
        self._evaluation_seed = evaluation_seed
        self.metrics = selected_metrics(["accuracy", "perplexity"], [], [], primary_metric, self.lower_is_better)
        self.primary_metric = primary_metric
        self._hidden_size = hidden_size
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._vocabulary: Vocabulary | None = None
        self.transform: nn.Sequential | None = None
        self.bias: nn.Parameter | None = None
        self._family: MlmFamily | None = None
        self._embeddings: list[nn.Embedding] = []  # a list, because an attribute would register it as the head's

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def read_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        self._tokenizer, self._vocabulary = tokenizer, Vocabulary.of(tokenizer)
        return None if self._vocabulary else "the encoder's tokenizer must have a mask token, got none"

    def check(self, row: Row) -> str | None:
        return None if row.text_pair is None else "the row must have one text, got a text_pair"

    def is_labelled(self, row: Row) -> bool:
        return not row.text.isspace()

    def without_gold(self, row: Row) -> Row:
        return row

    def label_counts(self, row: Row) -> Mapping[str, int]:
        return {}

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """One example for each chunk of a row, at least one for every row.

        Those for training have `words`, the word of each token, from which `draw` masks. Those for evaluation are
        masked: `positions` has the masked tokens and `gold` their ids. The other fields are empty.

        Raises:
            ValueError: `max_length` leaves no room for text, or the tokenizer has no mask token.
        """
        if not rows:
            return []
        surroundings, vocabulary = Surroundings.of(tokenizer), Vocabulary.of(tokenizer)
        room = max_length - surroundings.size
        if room < 1:
            raise ValueError(f"max_length must leave room for text besides special tokens, got {max_length}")
        if vocabulary is None:
            raise ValueError("the tokenizer must have a mask token, got none")
        worded = worded_tokens([row.text for row in rows], tokenizer, self._words)
        examples = []
        for index, (row, tokens) in enumerate(zip(rows, worded, strict=True)):
            positions = np.zeros(0, dtype=np.int64) if training else self._evaluated(row, tokens)
            examples += [
                {"row": index, **fields, "truncated": False}
                for fields in _fields(tokens, positions, room, surroundings, vocabulary, training=training)
            ]
        return examples

    def draw(self, example: Example, generator: np.random.Generator) -> Example:
        assert self._vocabulary is not None, "`read_tokenizer` comes first"
        ids = example["input_ids"]
        positions = self.masking.positions(example["words"], generator)
        return {
            **example,
            "input_ids": self.masking.replaced(ids, positions, self._vocabulary, generator),
            "positions": positions.tolist(),
            "gold": [ids[position] for position in positions.tolist()],
            "targets": len(positions),
        }

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """The masked tokens of all examples one after the other, as [B, K], so that few places are filled up.

        `sequences` and `positions`: where each of them is; `gold`: its id, `IGNORE` for filling; and `num_masked`, the
        number of each example, [B].
        """
        numbers = [len(example["positions"]) for example in examples]
        total = sum(numbers)
        width = -(-total // len(examples)) if examples else 0

        def spread(values: Iterable[int], filling: int) -> Tensor:
            filled = [*values, *[filling] * (width * len(examples) - total)]
            return torch.tensor(filled, dtype=torch.long).view(len(examples), width)

        return {
            "sequences": spread((i for i, number in enumerate(numbers) for _ in range(number)), 0),
            "positions": spread((value for example in examples for value in example["positions"]), 0),
            "gold": spread((value for example in examples for value in example["gold"]), IGNORE),
            "num_masked": torch.tensor(numbers, dtype=torch.long),
        }

    # --- states -> loss -------------------------------------------------------------------------------------------

    def attach(self, encoder: LoadedEncoder) -> str | None:
        """Takes the token embeddings, and the layers before them if the checkpoint has them."""
        embeddings = encoder.token_embeddings
        self._embeddings = [embeddings]
        self._family = known = family_of(encoder.config)
        family = known or default_family(encoder.config)
        size, width = embeddings.weight.shape
        self.transform = family.transform(self._hidden_size, width)
        self.bias = nn.Parameter(torch.zeros(size))
        shipped = encoder.masked_lm_weights()
        if shipped is None:
            return None
        wanted = family.names(self.transform)
        self.first_weights = "random"
        if known is None:
            return (
                f"the head for masked language modelling of the family {encoder.config.model_type} is not known, or"
                " does not use the token embeddings; its transform starts from random weights"
            )
        if not shipped.keys() >= {*wanted, family.bias}:
            return "the encoder has no head for masked language modelling, so its transform starts from random weights"
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(shipped[name])
            self.bias[: len(shipped[family.bias])] = shipped[family.bias]  # tokens that heads add have no bias yet
        self.first_weights = f"checkpoint: {family.dense}, {family.norm}, {family.bias}"
        return None

    def masked_lm_weights(self) -> Mapping[str, Tensor]:
        if self._family is None or self.transform is None or self.bias is None:
            return {}
        return {**self._family.names(self.transform), self._family.bias: self.bias}

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Scores of the vocabulary at the masked tokens, [B, K, V]."""
        assert self.transform is not None, "the head must be attached to an encoder"
        places = fields["sequences"] * states.shape[1] + fields["positions"]  # [B, K]
        masked = states.flatten(0, 1).index_select(0, places.flatten())  # [B * K, H]
        logits = nn.functional.linear(self.transform(masked), self._embeddings[0].weight, self.bias)
        return logits.view(*places.shape, logits.shape[-1])

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy and the number of masked tokens."""
        gold = fields["gold"]
        return _losses(logits, gold).sum(), (gold != IGNORE).sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The loss of each masked token and whether the most probable token is right, [number of masked tokens, 2]."""
        is_right = logits.argmax(-1).flatten() == fields["gold"].flatten()
        found = torch.stack([_losses(logits, fields["gold"]), is_right.float()], dim=1)  # [B * K, 2]
        numbers = fields["num_masked"].tolist()
        return list(torch.split(found[: sum(numbers)], numbers))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        found = torch.cat([torch.zeros(0, 2), *outputs]).double()
        loss, right = found.sum(0).tolist()
        return {"masked": len(found), "right": int(right), "loss": loss}

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The masked tokens, how many of them were predicted right, and the sum of their losses, [3]."""
        return torch.tensor([prediction[name] for name in ("masked", "right", "loss")], dtype=torch.double)

    def error(self, prediction: Prediction, row: Row) -> float:
        """The number of masked tokens that were predicted wrong."""
        return float(prediction["masked"] - prediction["right"])

    def score(self, counts: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._scores(counts).items()}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        found = self._scores(times.double() @ counts.double())
        return {name: found[name] for name in metrics}

    def proportions(self, counts: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        return {"accuracy": (counts[:, 1], counts[:, 0])}

    def report(self, counts: Tensor) -> ClassReport:
        """Nothing by class: there are as many classes as tokens in the vocabulary."""
        return ClassReport({}, (), None)

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`unigram`: the frequencies of tokens in the training rows."""
        assert self._tokenizer is not None, "`read_tokenizer` comes first"
        unigrams = Unigrams.of((tokens.drawable() for _, tokens in self._tokenized(rows)), len(self._tokenizer))
        return {"unigram": lambda rows: [self._guessed(*found, unigrams) for found in self._tokenized(rows)]}

    # --- private --------------------------------------------------------------------------------------------------

    def _evaluated(self, row: Row, tokens: WordedTokens) -> npt.NDArray[np.int64]:
        """The tokens of a row that are masked for evaluation."""
        key = hashlib.sha256(f"{self._evaluation_seed}\x1f{row.text}".encode()).digest()
        return self._evaluation.positions(tokens.words, np.random.default_rng(int.from_bytes(key[:8], "big")))

    def _tokenized(self, rows: Iterable[Row]) -> Iterator[tuple[Row, WordedTokens]]:
        """The rows with their tokens."""
        assert self._tokenizer is not None, "`read_tokenizer` comes first"
        remaining = iter(rows)
        while batch := list(islice(remaining, 64)):
            yield from zip(batch, worded_tokens([row.text for row in batch], self._tokenizer, self._words), strict=True)

    def _guessed(self, row: Row, tokens: WordedTokens, unigrams: Unigrams) -> Prediction:
        """The prediction of the most frequent token everywhere."""
        gold = tokens.ids()[self._evaluated(row, tokens)]
        right = int((gold == unigrams.most_frequent).sum())
        return {"masked": len(gold), "right": right, "loss": float(unigrams.losses[gold].sum())}

    def _scores(self, counts: Tensor) -> dict[str, Tensor]:
        """The metrics of one or many corpora, [..., 3] -> [...]; 0 without masked tokens."""
        masked, right, loss = counts.double().unbind(-1)
        whole = masked.clamp(min=1)
        perplexity = (loss / whole).clamp(max=_MAX_EXPONENT).exp()
        return {"accuracy": right / whole, "perplexity": perplexity.where(masked > 0, 0.0)}


def _fields(
    tokens: WordedTokens,
    positions: npt.NDArray[np.int64],
    room: int,
    surroundings: Surroundings,
    vocabulary: Vocabulary,
    *,
    training: bool,
) -> Iterator[Example]:
    """The fields of each chunk of a row, whose masked tokens are given."""
    ids = tokens.ids()
    gold = ids[positions]
    ids[positions] = vocabulary.mask_id
    read = {**tokens.fields, "input_ids": ids.tolist()}
    before, after = [NEVER] * surroundings.num_before, [NEVER] * (surroundings.size - surroundings.num_before)
    for chunk in tokens.chunks(room):
        own = slice(*np.searchsorted(positions, [chunk.start, chunk.stop]).tolist())
        words = tokens.words[chunk.start : chunk.stop]
        yield {
            **surroundings.around(read, chunk),
            "words": [*before, *words, *after] if training else [],
            "positions": (positions[own] - chunk.start + surroundings.num_before).tolist(),
            "gold": gold[own].tolist(),
            "targets": len(words) - words.count(NEVER) if training else own.stop - own.start,
        }


def _losses(logits: Tensor, gold: Tensor) -> Tensor:
    """The cross-entropy of each masked token, 0 for filling, [B, K, V] -> [B * K]."""
    return nn.functional.cross_entropy(
        logits.float().flatten(0, 1), gold.flatten(), ignore_index=IGNORE, reduction="none"
    )

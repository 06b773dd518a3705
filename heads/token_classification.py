"""Entities in a text: one tag for each word, predicted from the first token of the word.

These conventions hold in training, scoring and baselines:

- The words are the row's own. If it has none, runs of letters and digits are words, and every other visible character
  is a word. Accents, and soft hyphens and the like inside a word, are part of it. Gold offsets have no influence.
- A word without a token, because the tokenizer drops its characters, has no tag. An entity continues across it.
- Spans are compared without blanks, accents and invisible characters at their ends.
- A discontinuous entity is treated as one span from its first to its last character.
- If gold entities overlap, only the longest is tagged (of equally long ones the first). All of them are scored, so the
  others are missed.
- An entity that covers only part of a word tags the whole word. It is scored at its own offsets, so it is missed.
- If a row is annotated for some labels only, only these are scored. A word outside their entities may be an entity of
  another type, but not of these: its loss is the negative log-probability of all other tags together. Such a row has no
  soft labels.
- A text that is longer than `max_length` is split into overlapping windows. Each word belongs to the window in which it
  has the most context; it is trained on and predicted in that window only.
- Predicted tags are decoded strictly, as in seqeval's strict mode: an I without a B is not an entity, unless the option
  `spans` is "lenient".

`TokenClassification.notes` counts how often this affects gold entities.

Shapes: B examples, T tokens, H hidden size, W words of an example, C tags, L labels.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from heads import (
    IGNORE,
    ClassReport,
    Decisions,
    Example,
    FrozenEncoder,
    Head,
    PooledInput,
    Prediction,
    Row,
    Span,
    SpanRow,
    WordProbabilities,
    _frozen,
    pad,
    projection,
    scores,
)
from heads._crf import CRF, Legal
from heads._invisible import trimmed
from heads._lexicon import AnnotatedRow, Lexicon
from heads._metrics import selected_metrics
from heads._softening import softened
from heads._span_metrics import METRICS as SPAN_METRICS
from heads._span_metrics import NUM_COUNTS, span_counts, span_scores
from heads._tags import Scheme, TypedSpan, is_legal, tag_names, to_spans, to_tags
from heads._text import choice, class_names, describe, span_row
from heads._weak_labels import UNKNOWN, Distillation, distilled_cross_entropy, weighed, word_problem, word_targets
from heads._windows import TokenizedText, owner, windows
from heads._words import flat, overlapped, typed_words, words_of, words_problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Decoder = Literal["linear", "crf"]
Spans = Literal["strict", "lenient"]


_OFF_BY_ONE = ((-1, -1), (1, 1), (0, 1), (-1, 0))
"""What to add to start and end of entities if offsets count from 1, or an end is the last character."""


_ROUNDED = 10_000
"""The probabilities of tags are written as multiples of one in this number."""


class TokenClassification(Head):
    """Named entity recognition by tagging words.

    Predictions are ``{"entities": [{"type", "start", "end", "score"}]}`` with character offsets. The score is the mean
    probability of the tags of the entity's words: softmax probabilities, or marginal probabilities with a CRF. After
    calibration it is the geometric mean of the calibrated probabilities.

    Metrics:

    - `f1`, `precision`, `recall`: exact matches of span and type, pooled over the types
    - `macro_f1`: the mean F1 of exact matches over the types that occur or are predicted, as in seqeval
    - `word_micro_f1`, `word_macro_f1`: F1 over words, which are positive for a type if an entity of the type covers
      them; with the scheme IO, this is the PICO metric of BLURB

    Metrics on request, with the option `metrics` or as `primary_metric`:

    - `strict_f1`, `exact_f1`, `partial_f1`, `type_f1`, and the same with `precision` and `recall`: entities that match
      in part, in the four ways of SemEval 2013, counted as by nervaluate; see `heads._span_metrics`
    - `near_f1`, `near_precision`, `near_recall`: both offsets may be wrong by one character, as in HunFlair2

    A word with `probabilities` is learned from these, as `Classification` does with a text. A CRF has no such loss.

    Args:
        labels: Entity types.
        hidden_size: H of the encoder.
        scheme: Tagging scheme: BIO, BIOUL or IO.
        decoder: "linear" for a softmax for each word; "crf" for a CRF over the sequence, whose predictions follow the
            scheme.
        spans: "strict" ignores predicted tags that do not follow the scheme; with "lenient", a tag that continues no
            entity begins one, as in conlleval and seqeval's default mode. Without effect on scheme IO and on a CRF.
        stride: Number of tokens by which the windows of a long text overlap, at most half a window.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        distillation: `temperature` (1) and `share` (1) of soft labels, see `heads._weak_labels.Distillation`; None
            gives the defaults.
        metrics: Names of metrics to compute besides those shown by default.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: There is no label or a label twice, or an option is out of range.
    """

    other_names = ("ner", "named_entity_recognition", "sequence_labeling", "sequence_tagging", "tagging", "entities")
    metrics: tuple[str, ...] = ("f1", "precision", "recall", "macro_f1", "word_macro_f1", "word_micro_f1")
    row_type = SpanRow
    weighs_rows = True
    soft_labels = True
    changeable = ("dropout", "distillation")

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        scheme: Scheme = "BIO",
        decoder: Decoder = "linear",
        spans: Spans = "strict",
        stride: int = 32,
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        distillation: Mapping[str, float] | None = None,
        metrics: Sequence[str] = (),
        primary_metric: str = "f1",
    ) -> None:
        super().__init__(class_names(labels, 1), hidden_size)
        self.mention_types = self.labels
        choice("scheme", scheme, get_args(Scheme))
        choice("decoder", decoder, get_args(Decoder))
        self._is_lenient = choice("spans", spans, get_args(Spans)) == "lenient"
        if stride < 0:
            raise ValueError(f"stride must be at least 0, got {stride}")
        self.scheme: Scheme = scheme
        self.stride = stride
        self._distillation = Distillation.of(distillation)
        self.metrics = selected_metrics(self.metrics, SPAN_METRICS, metrics, primary_metric)
        self.primary_metric = primary_metric
        self._has_span_metrics = not set(SPAN_METRICS).isdisjoint(self.metrics)
        self.tags = tag_names(self.labels, scheme)
        self.projection = projection(hidden_size, len(self.tags), dropout=dropout, hidden_layer=hidden_layer)
        self.crf = CRF(len(self.tags), _legal(self.tags, scheme)) if decoder == "crf" else None

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def check(self, row: Row) -> str | None:
        if not isinstance(row, SpanRow):
            return f"the row must be a SpanRow, got a {type(row).__name__}"
        if row.text_pair is not None:
            return "the row must have one text, got a text_pair"
        return self._entity_problem(row) or words_problem(row) or self._soft_problem(row)

    def is_labelled(self, row: Row) -> bool:
        return bool(self._annotated(span_row(row)))

    def unknown_labels(self, row: Row) -> Sequence[str]:
        return [describe(e.type, self.labels) for e in span_row(row).entities if e.type not in self.labels]

    def without_gold(self, row: Row) -> Row:
        return replace(span_row(row), entities=(), relations=(), annotated=None, probabilities=None)

    def label_counts(self, row: Row) -> Mapping[str, int]:
        counts = Counter(entity.type for entity in span_row(row).entities)
        return {label: counts[label] for label in self._annotated(span_row(row))}

    def notes(self, row: Row) -> Mapping[str, int]:
        """How many gold entities are discontinuous, overlap a longer one, cover only part of a word, or are off by one.

        Those that are off by one would cover whole words if start, end or both were moved by one character.
        """
        row = span_row(row)
        words, gold = [trimmed(row.text, *word) for word in words_of(row)], self._gold(row)
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        types = self._annotated(row)
        return {
            "discontinuous": sum(len(entity.spans) > 1 for entity in row.entities if entity.type in types),
            "overlapping": sum(bool(covered) for covered in overlapped(gold, words)) - len(flat(gold, words)),
            "cutting_a_word": sum(span.start not in starts or span.end not in ends for span in gold),
            "off_by_one": sum(
                (span.start not in starts or span.end not in ends)
                and any(span.start + first in starts and span.end + last in ends for first, last in _OFF_BY_ONE)
                for span in gold
            ),
        }

    def unreachable(self, row: Row, examples: Sequence[Example]) -> int:
        row = span_row(row)
        words = _with_tokens(words_of(row), examples)
        tags = to_tags(flat(self._gold(row), words), len(words), self.scheme)
        found = {_characters(row, words, span) for span in to_spans(tags, self.scheme)}
        return len(set(self._gold(row)) - found)

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """One example for each window of a row, at least one for every row. Training and evaluation have the same.

        Raises:
            ValueError: The tokenizer does not give offsets, or `max_length` leaves no room for text.
        """
        if not rows:
            return []
        if not tokenizer.is_fast:
            raise ValueError("the tokenizer must be a fast one, which gives offsets, got a slow one")
        room = max_length - tokenizer.num_special_tokens_to_add()
        if room < 1:
            raise ValueError(f"max_length must leave room for text besides special tokens, got {max_length}")
        # The text is tokenised as a whole rather than word by word, so that all heads that read it share one input.
        encoded = tokenizer(
            [row.text for row in rows],
            truncation=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        return [
            example | {"row": index}
            for index, row in enumerate(rows)
            for example in self._examples(span_row(row), TokenizedText.of(encoded, index), room)
        ]

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """`positions`: first token of each word; `tags`: gold tag or `IGNORE`; `word_mask`; all [B, W].

        `probabilities`, [B, W, C], if there are soft labels. `refuted`, [B, C], if there are rows that are annotated
        for some labels only: the tags that their words without a gold tag do not have.
        """
        num_words = max([1, *(len(example["words"]) for example in examples)])

        def padded(sequences: list[list[int]], value: int) -> Tensor:
            return pad(sequences, num_words, value).view(len(examples), num_words).long()

        return {
            "positions": padded([example["positions"] for example in examples], 0),
            "tags": padded([example["tags"] for example in examples], IGNORE),
            "word_mask": padded([[1] * len(example["words"]) for example in examples], 0).bool(),
            **self._collated_probabilities(examples, num_words),
            **self._collated_refuted(examples),
        }

    # --- states -> loss -------------------------------------------------------------------------------------------

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Scores of the tags at the first token of each word, [B, W, C]."""
        positions = fields["positions"][..., None].expand(-1, -1, states.shape[2])  # [B, W, H]
        logits: Tensor = self.projection(states.gather(1, positions))
        return logits

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy or negative log-likelihood, and the number of words that it is summed over."""
        tags, logits, refuted = fields["tags"], logits.float(), fields.get("refuted")
        if refuted is None:
            is_outside = torch.zeros_like(tags, dtype=torch.bool)
        else:
            is_outside = (tags == IGNORE) & fields["word_mask"] & refuted.any(1, keepdim=True)
        if self.crf is not None:
            likelihood = self.crf.log_likelihood(logits, tags, fields["word_mask"], refuted)
            return -weighed(likelihood, fields).sum(), ((tags != IGNORE) | is_outside).sum()
        total, targets = distilled_cross_entropy(logits, tags, fields, self._distillation)
        if refuted is None:
            return total, targets
        others = logits.logsumexp(-1) - logits.masked_fill(refuted[:, None], -torch.inf).logsumexp(-1)  # [B, W]
        return total + weighed(torch.where(is_outside, others, 0.0), fields).sum(), targets + is_outside.sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """[W, C] for each example: probabilities, or emission scores if there is a CRF, which decodes whole rows."""
        values = logits.float() if self.crf is not None else logits.float().softmax(-1)
        return [v[:n] for v, n in zip(values, fields["word_mask"].sum(1).tolist(), strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        words = _with_tokens(words_of(span_row(row)), examples)
        best, probabilities = self._best(torch.cat(list(outputs))) if words else ([], [])
        return self._entities(words, best, probabilities)

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The flattened confusion matrix of exact spans, and the words found, spurious and missed of each type.

        The shape is [(L + 1)² + 3 L]; the counts of partial matches follow if a metric needs them. The last class of
        the confusion matrix is "none": missed entities are predicted as none, and the gold type of spurious ones is
        none.
        """
        row = span_row(row)
        gold, predicted = set(self._gold(row)), self._predicted(prediction, row)
        index = {label: i for i, label in enumerate(self.labels)}
        confusion = torch.zeros(len(self.labels) + 1, len(self.labels) + 1, dtype=torch.int64)
        for gold_type, predicted_type in _matches(gold, predicted):
            confusion[index.get(gold_type, -1), index.get(predicted_type, -1)] += 1
        words = words_of(row)
        gold_words, predicted_words = typed_words(gold, words), typed_words(predicted, words)
        of_words = [
            [len(gold_words[label] & predicted_words[label]) for label in self.labels],
            [len(predicted_words[label] - gold_words[label]) for label in self.labels],
            [len(gold_words[label] - predicted_words[label]) for label in self.labels],
        ]
        partial = [span_counts(gold, predicted)] if self._has_span_metrics else []
        return torch.cat([confusion.flatten(), torch.tensor(of_words).flatten(), *partial])

    def score(self, counts: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._scores(counts, self.metrics).items()}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        return self._scores(times.double() @ counts.double(), metrics)

    def report(self, counts: Tensor) -> ClassReport:
        confusion, words = self._split(counts)
        report = scores.report(confusion, [*self.labels, "none"], range(len(self.labels)))
        for label, word_f1 in zip(self.labels, _word_f1(*words.unbind(-2)).tolist(), strict=True):
            report.per_class[label]["word_f1"] = word_f1
        return report

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`lexicon`: the mentions of the training rows. `majority`: no entities, which scores 0."""
        read = [span_row(row) for row in rows]
        lexicon = Lexicon([AnnotatedRow(row, self._gold(row), self._annotated(row)) for row in read])
        return {
            "lexicon": lambda rows: [_lexicon_prediction(lexicon, row) for row in rows],
            "majority": lambda rows: [{"entities": []} for _ in rows],
        }

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """A logistic regression for the tag of each word, on the state of the word's first token."""
        sizes = [len(words_of(span_row(row))) for row in rows]
        sampled = [rows[index] for index in _frozen.sample(sizes, _frozen.MAX_WORDS)]
        examples = self.encode(sampled, encoder.tokenizer, encoder.max_length, training=True)
        gold = np.array([tag for example in examples for tag in example["tags"]], dtype=np.int64)
        documents = [sampled[example["row"]].document for example in examples for _ in example["tags"]]
        known = np.flatnonzero(gold != IGNORE)
        if not len(known):
            return None
        features = _word_states(examples, encoder)[known]
        return _frozen.fit_classes(features, gold[known].tolist(), [documents[i] for i in known], len(self.tags))

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        """The most probable tag of each word, decoded like the model's, without a CRF."""
        examples = self.encode(rows, encoder.tokenizer, encoder.max_length, training=False)
        probabilities = _frozen.class_probabilities(_word_states(examples, encoder), weights)
        best, highest = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
        of_rows: list[list[Example]] = [[] for _ in rows]
        for example in examples:
            of_rows[example["row"]].append(example)
        words = [_with_tokens(words_of(span_row(row)), own) for row, own in zip(rows, of_rows, strict=True)]
        ends = np.cumsum([len(own) for own in words]).tolist()
        return [
            self._entities(own, best[end - len(own) : end], highest[end - len(own) : end])
            for own, end in zip(words, ends, strict=True)
        ]

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def decisions(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Decisions:
        """The tag of each word, and the predicted entities of the annotated types. A CRF gives marginals."""
        row = span_row(row)
        words = _with_tokens(words_of(row), examples)
        if not words:
            none = torch.zeros(0, dtype=torch.long)
            return Decisions(torch.zeros(0, len(self.tags)), none, none, none.reshape(0, 3))
        tags, probabilities = self._distributions(torch.cat(list(outputs)))
        gold, types = set(self._gold(row)), self._annotated(row)
        spans = [span for span in self._spans(tags) if span.type in types]
        judged = [[span.start, span.end, int(_characters(row, words, span) in gold)] for span in spans]
        of_words = torch.tensor([tag for example in examples for tag in example["tags"]])
        return Decisions(probabilities, of_words, torch.tensor(tags), torch.tensor(judged).long().reshape(-1, 3))

    def decode_calibrated(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float
    ) -> Prediction:
        """The score of an entity is the geometric mean of the calibrated probabilities of its words' tags."""
        prediction = self.decode(row, examples, outputs)
        if not prediction["entities"]:
            return prediction
        tags, probabilities = self._distributions(torch.cat(list(outputs)))
        logs = softened(probabilities, temperature)[range(len(tags)), tags].log()
        for entity, span in zip(prediction["entities"], self._spans(tags), strict=True):
            entity["score"] = round(float(logs[span.start : span.end].mean().exp()), 6)
        return prediction

    def word_probabilities(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float = 1.0
    ) -> list[WordProbabilities]:
        words = _with_tokens(words_of(span_row(row)), examples)
        if not words:
            return []
        _, probabilities = self._distributions(torch.cat(list(outputs)))
        rounded = softened(probabilities, temperature).double().mul(_ROUNDED).round().div(_ROUNDED).tolist()
        return [
            WordProbabilities(*word, {tag: value for tag, value in zip(self.tags, values, strict=True) if value})
            for word, values in zip(words, rounded, strict=True)
        ]

    # --- private --------------------------------------------------------------------------------------------------

    def _annotated(self, row: SpanRow) -> tuple[str, ...]:
        """The labels for which the row is annotated."""
        return tuple(label for label in self.labels if row.annotated is None or label in row.annotated)

    def _gold(self, row: SpanRow) -> list[TypedSpan]:
        """The entities of the annotated types, each as one trimmed span of characters."""
        types = self._annotated(row)
        return [
            TypedSpan(
                *trimmed(row.text, min(start for start, _ in entity.spans), max(end for _, end in entity.spans)),
                entity.type,
            )
            for entity in row.entities
            if entity.type in types
        ]

    def _predicted(self, prediction: Prediction, row: SpanRow) -> set[TypedSpan]:
        types = self._annotated(row)
        entities = prediction["entities"]
        spans = (TypedSpan(*trimmed(row.text, one["start"], one["end"]), one["type"]) for one in entities)
        return {span for span in spans if span.type in types}

    def _entity_problem(self, row: SpanRow) -> str | None:
        for entity in row.entities:
            if entity.type not in self.labels:
                return (
                    f"the type of an entity must be one of: {', '.join(self.labels)};"
                    f" got {describe(entity.type, self.labels)}"
                )
            if not entity.spans:
                return f"an entity must have a span, got none for {entity.id}"
            for start, end in entity.spans:
                if not 0 <= start < end <= len(row.text):
                    return (
                        "the spans of an entity must be inside the text and not empty, got"
                        f" {start}-{end} for {entity.id} in a text of {len(row.text)} characters"
                    )
        return None

    def _soft_problem(self, row: SpanRow) -> str | None:
        if row.probabilities is None:
            return None
        if self.crf is not None:
            return "the row must have no probabilities, because a CRF learns from no soft labels"
        if len(self._annotated(row)) < len(self.labels):
            return "a row that is annotated for some labels only must have no probabilities"
        return word_problem(row, words_of(row), self.tags)

    def _soft_targets(self, row: SpanRow, words: Sequence[Span]) -> list[float]:
        """The probabilities of the tags of some words, word by word; `UNKNOWN` alone if the row has no soft labels.

        Every example has the field, because a table of examples needs its type from the first of them.
        """
        if row.probabilities is None or not words:
            return [UNKNOWN]
        return [value for of_word in word_targets(row, words, self.tags) for value in of_word]

    def _collated_probabilities(self, examples: Sequence[Example], num_words: int) -> dict[str, Tensor]:
        given = [example.get("probabilities", ()) for example in examples]
        soft = [list(values) if len(values) > 1 else [] for values in given]
        if not any(soft):
            return {}
        size = num_words * len(self.tags)
        found = torch.tensor([values + [UNKNOWN] * (size - len(values)) for values in soft])
        return {"probabilities": found.view(len(examples), num_words, len(self.tags))}

    def _refuted(self, row: SpanRow) -> list[int]:
        """The tags of the annotated types of a row that is annotated for some only; `IGNORE` alone for other rows."""
        types = self._annotated(row)
        if not 0 < len(types) < len(self.labels):
            return [IGNORE]
        return [index for index, tag in enumerate(self.tags) if tag.partition("-")[2] in types]

    def _collated_refuted(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        given = [example.get("refuted", (IGNORE,)) for example in examples]
        places = [(number, tag) for number, tags in enumerate(given) for tag in tags if tag != IGNORE]
        if not places:
            return {}
        found = torch.zeros(len(examples), len(self.tags), dtype=torch.bool)
        found[tuple(zip(*places, strict=True))] = True
        return {"refuted": found}

    def _targets(self, row: SpanRow, words: Sequence[Span]) -> list[int]:
        """The index of the gold tag of each word, `IGNORE` if it is not known."""
        types = self._annotated(row)
        if not types:
            return [IGNORE] * len(words)
        index = {tag: i for i, tag in enumerate(self.tags)}
        if len(types) < len(self.labels):
            index["O"] = IGNORE
        return [index[tag] for tag in to_tags(flat(self._gold(row), words), len(words), self.scheme)]

    def _examples(self, row: SpanRow, tokenized: TokenizedText, room: int) -> list[Example]:
        words = words_of(row)
        parts = windows(len(tokenized.offsets), room, self.stride)
        tokens_of = {word: tokens for word, tokens in enumerate(overlapped(words, tokenized.offsets)) if tokens}
        targets = dict(zip(tokens_of, self._targets(row, [words[word] for word in tokens_of]), strict=True))
        refuted = self._refuted(row)
        owned: list[list[tuple[int, int]]] = [[] for _ in parts]  # (word, its first token) of each window
        for word, tokens in tokens_of.items():
            owned[owner(tokens, parts)].append((word, tokens.start))
        return [
            tokenized.window(window)
            | {
                "words": [word for word, _ in members],
                "positions": [tokenized.num_before + first - window.start for _, first in members],
                "tags": [targets[word] for word, _ in members],
                "probabilities": self._soft_targets(row, [words[word] for word, _ in members]),
                "refuted": refuted,
                "targets": sum(targets[word] != IGNORE or refuted != [IGNORE] for word, _ in members),
                "truncated": False,
            }
            for window, members in zip(parts, owned, strict=True)
        ]

    def _entities(self, words: Sequence[Span], best: Sequence[int], probabilities: Sequence[float]) -> Prediction:
        """The prediction for a row, from the words that have a tag, their tags and their probabilities."""
        return {
            "entities": [
                _entity(words[span.start][0], words[span.end - 1][1], span.type, probabilities[span.start : span.end])
                for span in self._spans(best)
            ]
        }

    def _spans(self, tags: Sequence[int]) -> list[TypedSpan]:
        """The entities in a sequence of tags, as spans of words."""
        return to_spans([self.tags[tag] for tag in tags], self.scheme, lenient=self._is_lenient)

    def _distributions(self, values: Tensor) -> tuple[list[int], Tensor]:
        """The predicted tag of each word, and the probabilities of all its tags, from the outputs of a row, [W, C]."""
        if self.crf is None:
            return values.max(1).indices.tolist(), values
        return self.crf.best_path(values), self.crf.marginals(values)

    def _best(self, values: Tensor) -> tuple[list[int], list[float]]:
        """The predicted tag of each word and its probability, from the outputs of all words of a row, [W, C]."""
        tags, probabilities = self._distributions(values)
        return tags, probabilities[range(len(tags)), tags].tolist()

    def _scores(self, counts: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        """Some metrics of one or many corpora, [..., K] -> [...]."""
        confusion, words = self._split(counts)
        types = range(len(self.labels))
        precision, recall, f1 = scores.micro(confusion, types)
        found = {
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "macro_f1": scores.macro_f1(confusion, types),
            "word_macro_f1": scores.mean(_word_f1(*words.unbind(-2))),
            "word_micro_f1": _word_f1(*words.sum(-1).unbind(-1)),
        }
        if self._has_span_metrics:
            found |= span_scores(counts[..., -NUM_COUNTS:])
        return {name: found[name] for name in metrics}

    def _split(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The confusion matrix [..., L + 1, L + 1], and the words found, spurious and missed [..., 3, L]."""
        size, corpora = len(self.labels) + 1, counts.shape[:-1]
        confusion, words = counts[..., : size**2], counts[..., size**2 : size**2 + 3 * (size - 1)]
        return confusion.reshape(*corpora, size, size), words.reshape(*corpora, 3, size - 1)


def _legal(tags: Sequence[str], scheme: Scheme) -> Legal:
    legal = torch.tensor([[is_legal(before, after, scheme) for after in tags] for before in tags])
    outside = tags.index("O")
    return Legal(legal[outside], legal, legal[:, outside])


def _with_tokens(words: Sequence[Span], examples: Sequence[Example]) -> list[Span]:
    """The words that have a token and thus a tag, in the order of their outputs, which is that of the text."""
    return [words[word] for example in examples for word in example["words"]]


def _characters(row: SpanRow, words: Sequence[Span], span: TypedSpan) -> TypedSpan:
    """A span of words as a trimmed span of characters."""
    return TypedSpan(*trimmed(row.text, words[span.start][0], words[span.end - 1][1]), span.type)


def _entity(start: int, end: int, entity_type: str, probabilities: Sequence[float]) -> dict[str, Any]:
    score = round(sum(probabilities) / len(probabilities), 6)
    return {"type": entity_type, "start": start, "end": end, "score": score}


def _word_states(examples: Sequence[Example], encoder: FrozenEncoder) -> npt.NDArray[np.float64]:
    """The state of the first token of each word, in the order of the examples and their words, [N, H]."""
    inputs = [PooledInput(example, [[position] for position in example["positions"]]) for example in examples]
    return np.concatenate(encoder.means(inputs)).astype(np.float64)


def _lexicon_prediction(lexicon: Lexicon, row: Row) -> Prediction:
    return {"entities": [_entity(*span, [1.0]) for span in lexicon.find(span_row(row))]}


def _matches(gold: set[TypedSpan], predicted: set[TypedSpan]) -> list[tuple[str, str]]:
    """Pairs of gold and predicted type at the same span; "" means none.

    If a span has several types, equal types are paired first and the others in alphabetical order.
    """
    right = [(span.type, span.type) for span in gold & predicted]
    missed, spurious = _types_by_span(gold - predicted), _types_by_span(predicted - gold)
    wrong: list[tuple[str, str]] = []
    for span in missed.keys() | spurious.keys():
        left, other = missed[span], spurious[span]
        size = max(len(left), len(other))
        wrong += zip(left + [""] * (size - len(left)), other + [""] * (size - len(other)), strict=True)
    return right + wrong


def _types_by_span(spans: set[TypedSpan]) -> defaultdict[Span, list[str]]:
    types: defaultdict[Span, list[str]] = defaultdict(list)
    for span in sorted(spans):
        types[span.start, span.end].append(span.type)
    return types


def _word_f1(found: Tensor, spurious: Tensor, missed: Tensor) -> Tensor:
    return scores.precision_recall_f1(found, found + spurious, found + missed)[2]

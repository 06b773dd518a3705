"""One class for each mention: an attribute such as its assertion, negation or severity.

Shapes: B examples, N mentions, T tokens, H hidden size, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import torch
from torch import Tensor

from heads import (
    IGNORE,
    ClassReport,
    Decisions,
    Example,
    FrozenEncoder,
    Head,
    LoadedEncoder,
    Prediction,
    Row,
    SpanRow,
    _baselines,
    _frozen,
    projection,
    scores,
)
from heads._labelling import LabelledMention, Labelling
from heads._marked_input import AnyPooling, MentionPooling, masked_max, mean_states, read_marked, token_mask
from heads._marking import MARKERS, markers, original
from heads._mention_checks import check_mentions
from heads._metrics import AGREEMENT, selected_metrics
from heads._pooling import Pooling, SequencePooling
from heads._softening import class_decisions, softened
from heads._text import choice, class_names, describe, span_row, weights_of
from heads._weak_labels import summed_cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OWN_MARKERS = MARKERS[:2]

_CHARACTERS_PER_TOKEN = 8  # more than tokens have on average, so that the text on either side fills a window

_NEAR = 100
"""Number of characters on either side of a mention that the predictor `tfidf` reads."""


class MentionClassification(Head):
    """A softmax over the classes for each mention of a row.

    The class is an attribute of the mention: in "No fever today", "absent" may be the `assertion` of "fever", which is
    read as ``No [E1] fever [/E1] today`` by default (as van Aken et al. 2021 mark it). A text that is too long is read
    in a window around the mention. Mentions whose attribute is not known are masked.

    Predictions are ``{"attributes": [{"entity", "name", "value", "score"}, …]}`` with one entry for each mention of
    `entity_types`: the id of the entity, the attribute, its most probable class, and the probability of that class.

    Metrics count mentions: `accuracy`; `macro_f1`, the mean F1 over the classes that occur or are predicted, as in
    scikit-learn by default; and `micro_f1`, F1 pooled over the classes that are not `excluded`, which equals the
    accuracy if none is. The last is the metric of i2b2 2010 for assertions (Uzuner et al. 2011). `macro_f1` is primary,
    because in most corpora one class has most of the mentions. `mcc` and `kappa` are computed on request, with the
    option `metrics` or as `primary_metric`.

    Args:
        labels: Names of the classes.
        hidden_size: H of the encoder.
        attribute: Name of the attribute of the entities.
        default: Class of mentions without the attribute: ``absent`` for an attribute that is annotated only where it
            holds. None masks them. In rows that are not annotated for everything, it applies only if `annotated` names
            the attribute.
        entity_types: Types of the mentions; if it is empty, all mentions are classified.
        scope: Whether a mention is read in its sentence or in the whole document, or the part of it that fits. A row
            without sentences is one sentence; a mention that crosses the end of a sentence is read in both.
        input: "markers" puts ``[E1] … [/E1]`` around the mention. "original" leaves the text unchanged, so that only
            `pooling` distinguishes the mentions of a text.
        pooling: Input of the classifier. "cls", "mean", "last" and "pooler" read the whole text (see
            `heads._pooling`); None takes "last" for a causal encoder and "cls" for any other.
            "mention_max" is the maximum over the tokens of the mention, "entity_start" the state of its first token,
            which is its marker if it has one (Baldini Soares et al. 2019).
        class_weights: Weight of each class in the loss, above 0; 1 for classes that are not named. The count that
            `loss` returns is still the number of mentions.
        excluded: Classes that `micro_f1` leaves out. If only the class of interest is left, it is the F1 of that class.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        metrics: Names of metrics to compute besides those shown by default.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: An option is out of range, or options contradict each other.

    >>> from heads.rows import Entity
    >>> head = MentionClassification(["absent", "present"], 8, attribute="assertion")
    >>> fever = Entity("T1", "Sign", ((3, 8),), attributes={"assertion": "absent"})
    >>> head.label_counts(SpanRow("1", "1", "No fever", entities=(fever,)))
    Counter({'absent': 1})
    """

    other_names = (
        "assertion",
        "assertion_classification",
        "negation",
        "attributes",
        "entity_classification",
        "mention_attributes",
    )
    row_type = SpanRow
    weighs_rows = True
    changeable = ("class_weights", "dropout")

    labelling: Labelling
    metrics: tuple[str, ...] = ("accuracy", "macro_f1", "micro_f1")

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        attribute: str,
        default: str | None = None,
        entity_types: Sequence[str] = (),
        scope: Literal["sentence", "document"] = "sentence",
        input: Literal["markers", "original"] = "markers",
        pooling: AnyPooling | None = None,
        class_weights: Mapping[str, float] | None = None,
        excluded: Sequence[str] = (),
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        metrics: Sequence[str] = (),
        primary_metric: str = "macro_f1",
    ) -> None:
        super().__init__(class_names(labels, 2), hidden_size)
        default = None if default is None else choice("default", default, self.labels)
        left_out = tuple(choice("excluded", name, self.labels) for name in excluded)
        if len(set(left_out)) == len(self.labels):
            raise ValueError("excluded must leave at least one class, got all of them")
        self.labelling = Labelling(attribute, frozenset(entity_types) or None, default, scope, left_out)
        self.input = input
        self.pooling = None if pooling is None else choice("pooling", pooling, get_args(AnyPooling))
        self.reads_mentions = pooling in get_args(MentionPooling)
        if input == "original" and not self.reads_mentions:
            raise ValueError(
                "input 'original' with a pooling of the whole text cannot tell the mentions of a text apart; set"
                " pooling to 'mention_max' or 'entity_start', or input to 'markers'"
            )
        self.metrics = selected_metrics(self.metrics, AGREEMENT, metrics, primary_metric)
        self.primary_metric = primary_metric
        self.register_buffer("class_weights", weights_of(class_weights or {}, self.labels), persistent=False)
        self.text_pooling = None if self.reads_mentions else SequencePooling(cast(Pooling | None, pooling), dropout)
        self.classifier = projection(hidden_size, len(self.labels), dropout=dropout, hidden_layer=hidden_layer)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def encoder_problem(self, config: Any) -> str | None:
        return None if self.text_pooling is None else self.text_pooling.encoder_problem(config)

    def attach(self, encoder: LoadedEncoder) -> str | None:
        return None if self.text_pooling is None else self.text_pooling.attach(encoder)

    def special_tokens(self) -> tuple[str, ...]:
        return _OWN_MARKERS if self.input == "markers" else ()

    def check(self, row: Row) -> str | None:
        if row.text_pair is not None:
            return "the row must have one text, got a text_pair"
        problem = check_mentions(span_row(row))
        unknown = self.unknown_labels(row) if problem is None else ()
        if not unknown:
            return problem
        rule = f"the attribute '{self.labelling.attribute}' of an entity must be one of: {', '.join(self.labels)}"
        return f"{rule}; got {unknown[0]}"

    def unknown_labels(self, row: Row) -> Sequence[str]:
        gold = self._gold(span_row(row)).values()
        return [describe(label, self.labels) for label in gold if label is not None and label not in self.labels]

    def is_labelled(self, row: Row) -> bool:
        return bool(self.label_counts(row))

    def without_gold(self, row: Row) -> Row:
        row = span_row(row)
        entities = tuple(self.labelling.without_gold(entity) for entity in row.entities)
        return replace(row, entities=entities, annotated=())

    def label_counts(self, row: Row) -> Mapping[str, int]:
        return Counter(label for label in self._gold(span_row(row)).values() if label is not None)

    def notes(self, row: Row) -> Mapping[str, int]:
        """How many mentions have no gold class, and how many are of other types."""
        gold = self._gold(span_row(row))
        return {
            "mentions_without_a_label": sum(label is None for label in gold.values()),
            "mentions_of_other_types": len(span_row(row).entities) - len(gold),
        }

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        items = [(i, item) for i, row in enumerate(rows) for item in self._items(row, max_length, training=training)]
        texts = [item.marked for _, item in items]
        read = read_marked(texts, tokenizer, max_length, starts=self.pooling == "entity_start")
        return [
            {"row": row, **_of_mention(fields, item), **self._target(item)}
            for (row, item), fields in zip(items, read, strict=True)
        ]

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """`label`: index of the gold class, or `IGNORE`, [B]; `mention_mask`: tokens to pool, [B, T], if any are."""
        fields = {"label": torch.tensor([example["label"] for example in examples], dtype=torch.long)}
        if self.reads_mentions:
            fields["mention_mask"] = token_mask([example["mention_tokens"] for example in examples], length)
        return fields

    # --- states -> loss -------------------------------------------------------------------------------------------

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        if self.text_pooling is not None:
            pooled = self.text_pooling(states, mask)  # [B, H]
        else:
            pooled = masked_max(states, fields["mention_mask"])  # [B, H]
        logits: Tensor = self.classifier(pooled)  # [B, C]
        return logits

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = fields["label"]
        weights = self.get_buffer("class_weights")
        total = summed_cross_entropy(logits.float(), label, fields, weights)
        return total, (label != IGNORE).sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The probabilities [C] of each mention."""
        return list(logits.float().softmax(-1))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """The most probable class of each mention, the first of equals; the class describes the format."""
        return self._prediction([example["entity"] for example in examples], [output.tolist() for output in outputs])

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The flattened confusion matrix of the mentions of the row, [C * C]."""
        predicted = {one["entity"]: one["value"] for one in prediction["attributes"]}
        confusion = torch.zeros(len(self.labels), len(self.labels), dtype=torch.long)
        for entity, label in self._gold(span_row(row)).items():
            if label is not None:
                confusion[self.labels.index(label), self.labels.index(predicted[entity])] += 1
        return confusion.flatten()

    def score(self, counts: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._scores(counts, self.metrics).items()}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        return self._scores(times.double() @ counts.double(), metrics)

    def proportions(self, counts: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        confusion = self._confusion(counts)  # [N, C, C]
        return {"accuracy": (confusion.diagonal(dim1=-2, dim2=-1).sum(-1), confusion.sum((-2, -1)))}

    def report(self, counts: Tensor) -> ClassReport:
        return scores.report(self._confusion(counts), self.labels, range(len(self.labels)))

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent class. `tfidf`: logistic regression on the text near the marked mention.

        `entity_type` is the most frequent class among training mentions of the same entity type. It is left out if they
        are all of one type.
        """
        items = [item for row in rows for item in self._near_items(row) if item.label is not None]
        gold = [self._index(item) for item in items]
        fitted = _baselines.classes([item.text_row() for item in items], gold, len(self.labels))
        predictors = {name: self._predictor(_of_texts(predictor)) for name, predictor in fitted.items()}
        if len({item.type for item in items}) > 1:
            shares = _baselines.shares([item.type for item in items], gold, len(self.labels))
            predictors["entity_type"] = self._predictor(lambda items: shares([item.type for item in items]))
        return predictors

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """A logistic regression on mean states of the marked text: of all tokens, and of the mention, [2H]."""
        found = [(row.document, item) for row in rows for item in self._items(row, encoder.max_length, training=True)]
        found = [found[index] for index in _frozen.sample([1] * len(found), _frozen.MAX_TEXTS)]
        if not found:
            return None
        features = mean_states([item.marked for _, item in found], encoder, ["head"])
        gold = [self._index(item) for _, item in found]
        return _frozen.fit_classes(features, gold, [document for document, _ in found], len(self.labels))

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        def probabilities(items: Sequence[LabelledMention]) -> list[list[float]]:
            features = mean_states([item.marked for item in items], encoder, ["head"])
            found: list[list[float]] = _frozen.class_probabilities(features, weights).tolist()
            return found

        return self._predictor(probabilities, lambda row: self._items(row, encoder.max_length))(rows)

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def decisions(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Decisions:
        gold = [[example["label"]] for example in examples]
        return class_decisions(outputs, gold, len(self.labels))

    def decode_calibrated(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float
    ) -> Prediction:
        return self.decode(row, examples, [softened(output, temperature) for output in outputs])

    # --- private --------------------------------------------------------------------------------------------------

    def _gold(self, row: SpanRow) -> dict[str, str | None]:
        """The gold class of each mention, by its id."""
        return {entity.id: self.labelling.gold(row, entity) for entity in self.labelling.mentions(row)}

    def _items(self, row: Row, max_length: int, *, training: bool = False) -> Iterator[LabelledMention]:
        """What is classified in a row; with `training`, only what is trained on."""
        mark = markers if self.input == "markers" else original
        items = self.labelling.marked(span_row(row), _CHARACTERS_PER_TOKEN * max_length, mark)
        return (item for item in items if not training or item.label is not None)

    def _near_items(self, row: Row) -> Iterator[LabelledMention]:
        """The mentions of a row, marked in the text near them."""
        return self.labelling.marked(span_row(row), _NEAR, markers)

    def _index(self, item: LabelledMention) -> int:
        assert item.label is not None, "the mention has no gold class"
        return self.labels.index(item.label)

    def _target(self, item: LabelledMention) -> dict[str, int]:
        is_labelled = item.label is not None
        return {"targets": int(is_labelled), "label": self._index(item) if is_labelled else IGNORE}

    def _prediction(self, entities: Sequence[str], probabilities: Sequence[Sequence[float]]) -> Prediction:
        best = [max(range(len(own)), key=own.__getitem__) for own in probabilities]
        name = self.labelling.attribute
        return {
            "attributes": [
                {"entity": entity, "name": name, "value": self.labels[index], "score": own[index]}
                for entity, index, own in zip(entities, best, probabilities, strict=True)
            ]
        }

    def _predictor(
        self, fitted: _Fitted, items_of: Callable[[Row], Iterator[LabelledMention]] | None = None
    ) -> Callable[[Sequence[Row]], list[Prediction]]:
        items_of = items_of or self._near_items

        def predict(rows: Sequence[Row]) -> list[Prediction]:
            items = [list(items_of(row)) for row in rows]
            every = [item for own in items for item in own]
            probabilities = iter(fitted(every) if every else [])
            return [
                self._prediction([item.entity for item in own], [next(probabilities) for _ in own]) for own in items
            ]

        return predict

    def _scores(self, counts: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        """Some metrics of one or many corpora, [..., C * C] -> [...]."""
        confusion = self._confusion(counts)
        classes = range(len(self.labels))
        included = [c for c in classes if self.labels[c] not in self.labelling.excluded]
        found = {
            "accuracy": scores.accuracy(confusion),
            "macro_f1": scores.macro_f1(confusion, classes),
            "micro_f1": scores.micro(confusion, included)[2],
        }
        found |= {name: metric(confusion) for name, metric in AGREEMENT.items() if name in metrics}
        return {name: found[name] for name in metrics}

    def _confusion(self, counts: Tensor) -> Tensor:
        return counts.reshape(*counts.shape[:-1], len(self.labels), len(self.labels))


_Fitted = Callable[[Sequence[LabelledMention]], Sequence[Sequence[float]]]
"""From mentions to the probabilities [C] of each."""


def _of_texts(fitted: _baselines.Fitted) -> _Fitted:
    return lambda items: fitted([item.text_row() for item in items]).tolist()


def _of_mention(fields: dict[str, Any], item: LabelledMention) -> dict[str, Any]:
    """The fields of a marked text as those of a mention."""
    kept = {name: value for name, value in fields.items() if name not in ("head_tokens", "tail_tokens")}
    is_cut = kept["truncated"] or item.is_cut
    return {**kept, "truncated": is_cut, "entity": item.entity, "mention_tokens": fields["head_tokens"]}

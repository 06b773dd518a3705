"""Relations between mentions or concepts, as classes of candidate pairs.

Shapes: B examples, T tokens, H hidden size, C labels, L gold types of a candidate.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product, zip_longest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

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
    Span,
    SpanRow,
    TextRow,
    _baselines,
    _frozen,
    pad,
    projection,
    scores,
)
from heads._cooccurrence import cooccurrence_counts
from heads._marked_input import AnyPooling, MentionPooling, masked_max, mean_states, read_marked, token_mask
from heads._marking import MARKERS, Marked, markers, original, placeholder, ready_made, typed
from heads._metrics import AGREEMENT, selected_metrics
from heads._pairs import Candidate, Gold, Key, Pairing, annotated_types, gold, shifted
from heads._pooling import Pooling, SequencePooling
from heads._relation_checks import check_span_row
from heads._softening import class_decisions, softened
from heads._text import choice, class_names, describe, weights_of, wrong_class
from heads._weak_labels import summed_cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_WHOLE_TEXT: Key = ("", "")
"""The only "pair" of a `TextRow`, whose placeholders are already in the text."""

COOCCURRENCE = "cooccurrence_fpr"


class RelationClassification(Head):
    """One class for each candidate pair, with one class for "no relation".

    The candidates of a `SpanRow` are pairs of its mentions (or concepts), each with the sentence (or document) that
    contains it. By default, the only candidate of "COX-2 is inhibited by aspirin" is read as
    ``@GENE$ is inhibited by @CHEMICAL$``: each mention of the pair is replaced by its placeholder, and all other
    mentions stay text, as in BLURB (Gu et al. 2021). A `TextRow` is a sentence that already has placeholders, with the
    relation type as its label.

    A candidate with two gold types is trained on both. A candidate is masked if its relation has the type None, or if
    it has no relation and the row is not annotated for all relation types.

    Predictions are ``{"relations": [{"head", "tail", "type", "score"}, …]}`` with the pairs that are not in the
    negative class, or ``{"label", "scores"}`` for a `TextRow`, as in `classification`.

    Metrics are `micro_f1`, `macro_f1`, `precision` and `recall` without the negative class, and `accuracy` with it.
    They count every candidate, and as missed every gold relation that is not a candidate, for example because its
    mentions are in two sentences. The head predicts one type for a pair, so that other gold types of it are missed;
    of predictions of other systems with several types for a pair, each counts. The first four are 0 if only the
    negative class is predicted. `macro_f1` leaves out types that neither occur nor are predicted, as in scikit-learn
    by default.

    On request, with the option `metrics` or as `primary_metric`, there are `mcc` and `kappa` over all labels, and
    `cooccurrence_fpr`: the share of candidates that are predicted as related in sentences without any related
    candidate, where the mentions only occur together. The sentences of document-wide candidates are the whole row, and
    so is a `TextRow`; a sentence with a masked candidate is left out. Lower is better, so it cannot be primary.

    Args:
        labels: Relation types, with the negative class.
        hidden_size: H of the encoder.
        negative: The label that means "no relation".
        pairs: Allowed pairs of (head type, tail type); None allows all pairs of `entity_types`.
        entity_types: Types whose mentions are paired if `pairs` is not given. If it is empty too, all entities of a row
            are paired, which is not possible with input "typed": its placeholders must be known in advance.
        merge_types: New names for entity types, applied before pairs and placeholders are made: ``{"brand": "drug"}``.
        directed: Whether (a, b) and (b, a) are two candidates if `pairs` allows both. If not, they are one candidate,
            whose head is decided by the types, or is the first in the text if the types allow both.
        scope: Whether both mentions must be in the same sentence or only in the same document. A row without sentences
            is one sentence; a mention that crosses the end of a sentence is in none.
        level: "mention" for a candidate for each pair of mentions. "concept" for a candidate for each pair of concept
            ids in the document, with all their mentions marked; relations then join concept ids, and `scope` must be
            "document".
        input: "typed" replaces both mentions with placeholders for their types, and overlapping mentions with one
            placeholder for both (``@CHEMICAL-GENE$``). "markers" puts ``[E1] … [/E1]`` around the head and
            ``[E2] … [/E2]`` around the tail. "original" leaves the text unchanged, so that only `pooling` distinguishes
            the pairs of a text.
        pooling: Input of the classifier. "cls", "mean" and "pooler" read the whole text (see `heads._pooling`): the
            state of the first token, the mean over all tokens, or the pooling of transformers' class for sequence
            classification. "last" is the state of the last token. None takes "last" for a causal encoder and "cls"
            for any other. "mention_max": the maximum over the tokens of the head, concatenated with that over the
            tokens of the tail (2H). "entity_start": the same with only the first token of each mention, which is its
            marker if it has one (Baldini Soares et al. 2019). A mention without tokens is represented by the first
            token.
        allow_ambiguous: Whether all pairs of a text may look the same to the classifier, as with input "original" and
            pooling "cls": only an ablation wants this.
        placeholders: Placeholders in sentences that already have them, the head's first:
            ``["@GENE$", "@DISEASE$"]``.
        keep_negatives: Share of the negative examples used in training; all of them are scored. Which are kept depends
            on a hash of row id and pair only.
        class_weights: Weight of each class in the loss, above 0; 1 for classes that are not named. The count that
            `loss` returns is still the number of labels.
        dropout: Dropout probability before each linear layer.
        hidden_layer: Size of a hidden GELU layer before the output; None for no hidden layer.
        metrics: Names of metrics to compute besides those shown by default.
        primary_metric: Name of the metric that selects checkpoints.

    Raises:
        ValueError: An option is out of range, or options contradict each other.
    """

    other_names = ("re", "relations", "relation_extraction", "relation_classification")
    row_type = (SpanRow, TextRow)
    weighs_rows = True
    changeable = ("class_weights", "dropout")

    pairing: Pairing
    negative: str

    lower_is_better = frozenset({"loss", COOCCURRENCE})
    metrics: tuple[str, ...] = ("micro_f1", "macro_f1", "precision", "recall", "accuracy")

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        negative: str,
        pairs: Sequence[tuple[str, str]] | None = None,
        entity_types: Sequence[str] = (),
        merge_types: Mapping[str, str] | None = None,
        directed: bool = False,
        scope: Literal["sentence", "document"] = "sentence",
        level: Literal["mention", "concept"] = "mention",
        input: Literal["typed", "markers", "original"] = "typed",
        pooling: AnyPooling | None = None,
        allow_ambiguous: bool = False,
        placeholders: Sequence[str] = (),
        keep_negatives: float = 1.0,
        class_weights: Mapping[str, float] | None = None,
        dropout: float = 0.1,
        hidden_layer: int | None = None,
        metrics: Sequence[str] = (),
        primary_metric: str = "micro_f1",
    ) -> None:
        super().__init__(class_names(labels, 2), hidden_size)
        if pairs is not None and not pairs:
            raise ValueError("pairs must have at least one pair of types, got an empty list; add a pair or omit pairs")
        if pairs is not None and entity_types:
            raise ValueError("entity_types has no effect with pairs, which name the types; omit one of them")
        types: list[tuple[str, str]] = [(head, tail) for head, tail in pairs or product(entity_types, entity_types)]
        self.types = tuple(types)
        self.pairing = Pairing(frozenset(types) or None, directed, scope, level, dict(merge_types or {}))
        self.negative = choice("negative", negative, self.labels)
        self.input = input
        self.pooling = None if pooling is None else choice("pooling", pooling, get_args(AnyPooling))
        self.reads_mentions = pooling in get_args(MentionPooling)
        self.placeholders = tuple(placeholders)
        self.keep_negatives = keep_negatives
        optional = [*AGREEMENT, COOCCURRENCE]
        self.metrics = selected_metrics(self.metrics, optional, metrics, primary_metric, self.lower_is_better)
        self.primary_metric = primary_metric
        self._check_options(allow_ambiguous=allow_ambiguous)
        self.register_buffer("class_weights", weights_of(class_weights or {}, self.labels), persistent=False)
        self.text_pooling = None if self.reads_mentions else SequencePooling(cast(Pooling | None, pooling), dropout)
        width = 2 * hidden_size if self.reads_mentions else hidden_size
        self.classifier = projection(width, len(self.labels), dropout=dropout, hidden_layer=hidden_layer)

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def encoder_problem(self, config: Any) -> str | None:
        return None if self.text_pooling is None else self.text_pooling.encoder_problem(config)

    def attach(self, encoder: LoadedEncoder) -> str | None:
        return None if self.text_pooling is None else self.text_pooling.attach(encoder)

    def special_tokens(self) -> tuple[str, ...]:
        tokens = list(self.placeholders)
        if self.input == "markers":
            tokens += MARKERS
        elif self.input == "typed":
            tokens += [placeholder(name) for pair in self.types for name in pair]
            tokens += [placeholder(*pair) for pair in self.types]
        return tuple(dict.fromkeys(tokens))

    def check(self, row: Row) -> str | None:
        if row.text_pair is not None:
            return "the row must have one text, got a text_pair"
        if isinstance(row, TextRow):
            return None if row.label is None else wrong_class(row.label, self.labels)
        if self.input == "typed" and not self.types:
            return "rows with entities need the option pairs or entity_types, got neither"
        return check_span_row(row, self.labels, self.pairing.level)

    def unknown_labels(self, row: Row) -> Sequence[str]:
        gold = [row.label] if isinstance(row, TextRow) else [relation.type for relation in row.relations]
        return [describe(label, self.labels) for label in gold if label is not None and label not in self.labels]

    def is_labelled(self, row: Row) -> bool:
        return bool(self._gold(row, scored=True))

    def label_counts(self, row: Row) -> Mapping[str, int]:
        return Counter(label for types in self._gold(row).values() for label in types)

    def unreachable(self, row: Row, examples: Sequence[Example]) -> int:
        """Relations of pairs that are not candidates, and all types but one of a pair."""
        pairs = {self.pairing.key(example["head"], example["tail"]) for example in examples}
        gold = {pair: [name for name in types if name != self.negative] for pair, types in self._gold(row).items()}
        return sum(max(0, len(types) - (pair in pairs)) for pair, types in gold.items())

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        items = [(i, item) for i, row in enumerate(rows) for item in self._items(row, training=training)]
        texts = [item.marked for _, item in items]
        read = read_marked(texts, tokenizer, max_length, starts=self.pooling == "entity_start")
        return [
            {
                "row": row,
                **fields,
                "targets": len(item.types),
                "label": [self.labels.index(label) for label in item.types],
                "head": item.head,
                "tail": item.tail,
            }
            for (row, item), fields in zip(items, read, strict=True)
        ]

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """`label`: gold types, [B, L]; `head_mask`, `tail_mask`: tokens to pool, [B, T], if mentions are pooled."""
        num_types = max([1, *(len(example["label"]) for example in examples)])
        fields = {"label": pad([example["label"] for example in examples], num_types, IGNORE)}
        if self.reads_mentions:
            fields["head_mask"] = token_mask([example["head_tokens"] for example in examples], length)
            fields["tail_mask"] = token_mask([example["tail_tokens"] for example in examples], length)
        return fields

    # --- states -> loss -------------------------------------------------------------------------------------------

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        if self.text_pooling is not None:
            pooled = self.text_pooling(states, mask)  # [B, H]
        else:
            maxima = [masked_max(states, fields[name]) for name in ("head_mask", "tail_mask")]
            pooled = torch.cat(maxima, dim=-1)  # [B, 2H]
        logits: Tensor = self.classifier(pooled)  # [B, C]
        return logits

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        label = fields["label"]  # [B, L]
        weights = self.get_buffer("class_weights")
        repeated = logits.float()[:, None].expand(-1, label.shape[1], -1)  # [B, L, C]
        total = summed_cross_entropy(repeated, label, fields, weights)
        return total, (label != IGNORE).sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The probabilities [C] of each candidate."""
        return list(logits.float().softmax(-1))

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """The most probable type of each candidate, the first of equals; the class describes the format."""
        pairs = [(example["head"], example["tail"]) for example in examples]
        return self._prediction(row, pairs, [output.tolist() for output in outputs])

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The flattened confusion matrix of the candidates and the missed relations of the row, [C * C].

        If `cooccurrence_fpr` is computed, its two counts follow.
        """
        confusion = torch.zeros(len(self.labels), len(self.labels), dtype=torch.long)
        predicted, known = self._scored(prediction, row)
        for key, types in known.items():
            for truth, guess in _matches(types, predicted.get(key, ()), self.negative):
                confusion[self.labels.index(truth), self.labels.index(guess)] += 1
        if COOCCURRENCE not in self.metrics:
            return confusion.flatten()
        by_sentence = self._keys_by_sentence(row)
        cooccurring = cooccurrence_counts(by_sentence, known, predicted, self.negative)
        return torch.cat([confusion.flatten(), torch.tensor(cooccurring)])

    def score(self, counts: Tensor) -> dict[str, float]:
        return {name: float(value) for name, value in self._scores(counts, self.metrics).items()}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        return self._scores(times.double() @ counts.double(), metrics)

    def report(self, counts: Tensor) -> ClassReport:
        return scores.report(self._confusion(counts), self.labels, self._positives())

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent type. `tfidf`: logistic regression on the marked text. `type_pair`: see below.

        `type_pair` is the most frequent relation type among training pairs with the same entity types, or among all
        training pairs if there are none. It is left out for `TextRow`s, which have no entity types.
        """
        items = [item for row in rows for item in self._items(row)]
        known = [(item, self.labels.index(label)) for item in items for label in item.types]
        if not known:
            return {}
        fitted = _baselines.classes([item.text_row() for item, _ in known], [c for _, c in known], len(self.labels))
        predictors = {name: self._predictor(_of_texts(predictor)) for name, predictor in fitted.items()}
        if any(item.entity_types != _WHOLE_TEXT for item in items):
            pairs, gold = [item.entity_types for item, _ in known], [c for _, c in known]
            shares = _baselines.shares(pairs, gold, len(self.labels))
            predictors["type_pair"] = self._predictor(lambda items: shares([item.entity_types for item in items]))
        return predictors

    def fit_frozen(self, rows: Sequence[Row], encoder: FrozenEncoder) -> _frozen.Weights | None:
        """A logistic regression on mean states of the marked text: of all tokens, of the head and of the tail, [3H]."""
        candidates = [(row.document, item) for row in rows for item in self._items(row)]
        known = [(document, item, label) for document, item in candidates for label in item.types]
        known = [known[index] for index in _frozen.sample([1] * len(known), _frozen.MAX_TEXTS)]
        if not known:
            return None
        features = mean_states([item.marked for _, item, _ in known], encoder, ("head", "tail"))
        gold = [self.labels.index(label) for _, _, label in known]
        return _frozen.fit_classes(features, gold, [document for document, _, _ in known], len(self.labels))

    def predict_frozen(self, rows: Sequence[Row], weights: _frozen.Weights, encoder: FrozenEncoder) -> list[Prediction]:
        def probabilities(items: Sequence[_Item]) -> Sequence[Sequence[float]]:
            if not items:
                return []
            features = mean_states([item.marked for item in items], encoder, ("head", "tail"))
            found: list[list[float]] = _frozen.class_probabilities(features, weights).tolist()
            return found

        return self._predictor(probabilities)(rows)

    # --- fitted after training, on dev ----------------------------------------------------------------------------

    def decisions(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Decisions:
        """One decision for each gold type of a candidate, as in the loss."""
        return class_decisions(outputs, [example["label"] for example in examples], len(self.labels))

    def decode_calibrated(
        self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor], temperature: float
    ) -> Prediction:
        return self.decode(row, examples, [softened(output, temperature) for output in outputs])

    # --- private --------------------------------------------------------------------------------------------------

    def _items(self, row: Row, *, training: bool = False) -> Iterator[_Item]:
        """What is classified in a row; with `training`, only what is trained on."""
        if isinstance(row, TextRow):
            types = self._gold(row).get(_WHOLE_TEXT, ())
            if not training or self._is_trained(row.id, _WHOLE_TEXT, types):
                yield _Item(*_WHOLE_TEXT, _WHOLE_TEXT, types, ready_made(row.text, self.placeholders))
            return
        candidates = self.pairing.candidates(row)
        known = self._gold(row, candidates)
        for candidate in candidates:
            key = self.pairing.key(candidate.head.id, candidate.tail.id)
            entity_types = self.pairing.key(candidate.head.type, candidate.tail.type)
            types = known.get(key, ())
            if not training or self._is_trained(row.id, key, types):
                yield _Item(candidate.head.id, candidate.tail.id, entity_types, types, self._mark(row, candidate))

    def _gold(self, row: Row, candidates: Sequence[Candidate] | None = None, *, scored: bool = False) -> Gold:
        if isinstance(row, TextRow):
            return {_WHOLE_TEXT: (row.label,)} if isinstance(row.label, str) else {}
        candidates = self.pairing.candidates(row) if candidates is None else candidates
        return gold(row, candidates, self.pairing, self.labels, self.negative, scored=scored)

    def _scored(self, prediction: Prediction, row: Row) -> tuple[Gold, Gold]:
        """The predicted and the gold types of each pair, without predictions of types that are not annotated.

        A pair without a relation for which only such types are predicted is left out, since they may be right.
        """
        predicted, known = self._predicted(prediction, row), self._gold(row, scored=True)
        if isinstance(row, TextRow) or row.annotated is None:
            return predicted, known
        types = annotated_types(row, self.labels, self.negative)
        counted = {key: tuple(name for name in names if name in types) for key, names in predicted.items()}
        undecided = {key for key, names in counted.items() if not names and known.get(key) == (self.negative,)}
        return {key: names for key, names in counted.items() if names}, {
            key: names for key, names in known.items() if key not in undecided
        }

    def _predicted(self, prediction: Prediction, row: Row) -> Gold:
        """The predicted types of each pair but the negative one, each once, in the order of the labels."""
        if isinstance(row, TextRow):
            found = {(_WHOLE_TEXT, prediction["label"])}
        else:
            found = {(self.pairing.key(r["head"], r["tail"]), r["type"]) for r in prediction["relations"]}
        predicted: Gold = {}
        for key, label in sorted(found, key=lambda one: self.labels.index(one[1])):
            if label != self.negative:
                predicted[key] = (*predicted.get(key, ()), label)
        return predicted

    def _is_trained(self, row_id: str, key: Key, types: Sequence[str]) -> bool:
        if not types or tuple(types) != (self.negative,) or self.keep_negatives == 1:
            return bool(types)
        digest = hashlib.sha256("\x1f".join((row_id, *key)).encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.keep_negatives * 2**64

    def _mark(self, row: SpanRow, candidate: Candidate) -> Marked:
        start, end = candidate.context
        text = row.text[start:end]
        head = shifted(candidate.head.mentions, -start)
        tail = shifted(candidate.tail.mentions, -start)
        if self.input == "typed":
            return typed(text, head, tail, candidate.head.type, candidate.tail.type)
        return markers(text, head, tail) if self.input == "markers" else original(text, head, tail)

    def _prediction(self, row: Row, pairs: Sequence[Key], probabilities: Sequence[Sequence[float]]) -> Prediction:
        best = [self.labels[max(range(len(own)), key=own.__getitem__)] for own in probabilities]
        if isinstance(row, TextRow):
            return {"label": best[0], "scores": dict(zip(self.labels, probabilities[0], strict=True))}
        relations = [
            {"head": head, "tail": tail, "type": label, "score": max(own)}
            for (head, tail), label, own in zip(pairs, best, probabilities, strict=True)
            if label != self.negative
        ]
        return {"relations": relations}

    def _predictor(self, fitted: _Fitted) -> Callable[[Sequence[Row]], list[Prediction]]:
        def predict(rows: Sequence[Row]) -> list[Prediction]:
            items = [list(self._items(row)) for row in rows]
            probabilities = iter(fitted([item for own in items for item in own]))
            return [
                self._prediction(row, [(item.head, item.tail) for item in own], [next(probabilities) for _ in own])
                for row, own in zip(rows, items, strict=True)
            ]

        return predict

    def _positives(self) -> list[int]:
        return [index for index, label in enumerate(self.labels) if label != self.negative]

    def _scores(self, counts: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        """Some metrics of one or many corpora, [..., K] -> [...]."""
        confusion = self._confusion(counts)
        precision, recall, f1 = scores.micro(confusion, self._positives())
        found = {
            "micro_f1": f1,
            "macro_f1": scores.macro_f1(confusion, self._positives()),
            "precision": precision,
            "recall": recall,
            "accuracy": scores.accuracy(confusion),
        }
        found |= {name: metric(confusion) for name, metric in AGREEMENT.items() if name in metrics}
        if COOCCURRENCE in metrics:
            found[COOCCURRENCE] = scores.ratio(*counts[..., -2:].unbind(-1))
        return {name: found[name] for name in metrics}

    def proportions(self, counts: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        return {COOCCURRENCE: (counts[..., -2], counts[..., -1])} if COOCCURRENCE in self.metrics else {}

    def _keys_by_sentence(self, row: Row) -> list[list[Key]]:
        """The candidates of each sentence."""
        if isinstance(row, TextRow):
            return [[_WHOLE_TEXT]]
        keys: defaultdict[Span, list[Key]] = defaultdict(list)
        for candidate in self.pairing.candidates(row):
            keys[candidate.context].append(self.pairing.key(candidate.head.id, candidate.tail.id))
        return list(keys.values())

    def _confusion(self, counts: Tensor) -> Tensor:
        size = len(self.labels)
        return counts[..., : size**2].reshape(*counts.shape[:-1], size, size)

    def _check_options(self, *, allow_ambiguous: bool) -> None:
        if not 0 <= self.keep_negatives <= 1:
            raise ValueError(f"keep_negatives must be between 0 and 1, got {self.keep_negatives}")
        if self.pairing.level == "concept" and self.pairing.scope != "document":
            raise ValueError("level 'concept' pairs the concepts of a whole document; set scope to 'document'")
        if self.input == "typed" and not self.types and not self.placeholders:
            raise ValueError(
                "input 'typed' needs to know the entity types in advance; set pairs or entity_types, or placeholders "
                "if the sentences already have them"
            )
        if not self.reads_mentions and self.input == "original" and not allow_ambiguous:
            raise ValueError(
                "input 'original' with a pooling of the whole text cannot tell the pairs of a text apart; set pooling"
                " to 'mention_max' or 'entity_start', or input to 'typed' or 'markers'; an ablation may set"
                " allow_ambiguous"
            )
        both_ways = self.pairing.directed and any((tail, head) in self.types for head, tail in self.types)
        if not self.reads_mentions and self.input == "typed" and both_ways:
            raise ValueError(
                "directed pairs (a, b) and (b, a) give the same text with input 'typed' and a pooling of the whole"
                " text; set input to 'markers', or pooling to 'mention_max' or 'entity_start'"
            )


class _Item(NamedTuple):
    """One candidate.

    Args:
        head: Id of the head.
        tail: Id of the tail.
        entity_types: Types of head and tail, as a key of the pairing.
        types: Gold relation types; empty if the candidate is masked.
        marked: Its text, and the positions of head and tail in it.
    """

    head: str
    tail: str
    entity_types: Key
    types: tuple[str, ...]
    marked: Marked

    def text_row(self) -> TextRow:
        return TextRow("", "", self.marked.text)


_Fitted = Callable[[Sequence[_Item]], Sequence[Sequence[float]]]
"""From candidates to the probabilities [C] of each."""


def _of_texts(fitted: _baselines.Fitted) -> _Fitted:
    return lambda items: fitted([item.text_row() for item in items]).tolist() if items else []


def _matches(types: Sequence[str], predicted: Sequence[str], negative: str) -> list[tuple[str, str]]:
    """(gold, predicted) for each gold type of a pair, and for each further predicted type.

    >>> _matches(["cause", "treat"], ["treat"], "none")
    [('treat', 'treat'), ('cause', 'none')]
    >>> _matches(["cause"], ["cause", "treat"], "none")
    [('cause', 'cause'), ('none', 'treat')]
    """
    missed = [label for label in types if label not in predicted]
    spurious = [label for label in predicted if label not in types]
    right = [(label, label) for label in types if label in predicted]
    return [*right, *zip_longest(missed, spurious, fillvalue=negative)]

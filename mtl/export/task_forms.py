"""What a head is as a class of transformers: its labels, its weights by their names there, and what it cannot be.

`form_of` knows the task types. A head of another type takes part by `form_of.register` in its own module.

Shapes: B sequences, T tokens, H hidden size, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from heads import Head
from heads._causal import is_causal
from heads._marking import markers, typed
from heads._poolers import FAMILIES, pooler_of
from heads._pooling import SequencePooling
from heads._text import TextHead
from heads.classification import Classification
from heads.mention_classification import MentionClassification
from heads.multilabel import Multilabel
from heads.regression import Regression
from heads.relation import RelationClassification
from heads.token_classification import TokenClassification
from mtl.problems import InputError, Problem

PREDICT = "or predict with `mtl predict`"
SEQUENCES, TOKENS = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"


class HeadPlace(NamedTuple):
    """Where a head stands, and what for.

    Args:
        task: Name of the task.
        options: Options of the head in the mixture.
        config: Configuration of the encoder.
    """

    task: str
    options: Mapping[str, Any]
    config: Any

    def refuse(self, option: str, message: str, advice: str) -> Problem:
        """A problem with an option of the head."""
        return Problem(f"tasks.{self.task}.options.{option}", message, advice)


class TaskForm(NamedTuple):
    """A head as a class of transformers holds it.

    Args:
        auto_class: Name of the class that loads it.
        labels: Name of each output, [C].
        problem_type: As transformers names it; None for tokens.
        weights: The head's weights by their names in the class.
        logits: The class's logits from hidden states [B, T, H] and a mask [B, T]: [B, C], or [B, T, C] for tokens.
        thresholds: Probability from which a label is predicted; empty if the most probable one is.
        reads: How an input must be written; empty for plain text.
        example: An input.
        stride: Number of tokens by which windows of a long text overlap; None if long texts are cut.
        strict: Whether predictions leave out tags that do not follow the scheme.
    """

    auto_class: str
    labels: tuple[str, ...]
    problem_type: str | None
    weights: Mapping[str, Tensor]
    logits: Callable[[Tensor, Tensor], Tensor]
    thresholds: Mapping[str, float] = {}
    reads: str = ""
    example: str = "Aspirin reduced the fever."
    stride: int | None = None
    strict: bool = False


class TaskExport(NamedTuple):
    """A task as it is written.

    Args:
        task: Name of the task.
        head: Name of its head in the mixture.
        form: Its form in the class.
        max_length: Maximum length of an input in tokens.
        aggregation_strategy: That of `pipeline` that is nearest to `mtl predict`; None if the task tags no tokens.
        stride: Number of tokens by which `pipeline` lets the windows of a long text overlap; None if it is cut.
        temperature: Temperature of the calibration that is part of the weights; 1 if there is none.
    """

    task: str
    head: str
    form: TaskForm
    max_length: int
    aggregation_strategy: str | None
    stride: int | None
    temperature: float

    def settings(self) -> dict[str, Any]:
        """What transformers has no place for, as the key `biomtl` of the model's configuration."""
        found = {
            "task": self.task,
            "head": self.head,
            "thresholds": dict(self.form.thresholds),
            "aggregation_strategy": self.aggregation_strategy,
            "stride": self.stride,
            "reads": self.form.reads,
        }
        return {name: value for name, value in found.items() if value not in (None, {}, "")}


MOST_THRESHOLD = 1 - 1e-4
"""Highest threshold of an exported output. Float32 has few numbers between a higher one and 1."""


def calibrated(form: TaskForm, head: Head, temperature: float) -> TaskForm | None:
    """The form with an output layer that is divided by a temperature, so that its probabilities are calibrated.

    None if no thresholds on this scale give the decisions of the run, or if float32 cannot tell one of them from 1.

    Args:
        form: Result of `form_of`, whose last two weights are those of the output layer.
        head: The trained head.
        temperature: The temperature.
    """
    thresholds = head.calibrated_thresholds(temperature)
    if form.thresholds.keys() != thresholds.keys() or any(value > MOST_THRESHOLD for value in thresholds.values()):
        return None
    plain, scaled = form.logits, list(form.weights)[-2:]
    return form._replace(
        weights={name: value / temperature if name in scaled else value for name, value in form.weights.items()},
        logits=lambda states, mask: plain(states, mask) / temperature,
        thresholds=thresholds,
    )


@singledispatch
def form_of(head: Head, place: HeadPlace) -> TaskForm:
    """The head as a class of transformers.

    Args:
        head: A trained head.
        place: Its task and options.

    Raises:
        InputError: No class can hold it; there is one problem for each reason.
    """
    message = f"'{type(head).__name__}' has no class of transformers for its predictions."
    advice = f"Choose another task, {PREDICT}."
    if head.masked_lm_weights() is not None or head.causal_lm_weights() is not None:
        advice = "Write it with the encoder: `mtl export RUN --encoder --to FOLDER`."
    raise InputError(Problem(f"tasks.{place.task}.head", message, advice))


@form_of.register(Classification)
def _classification(head: Classification, place: HeadPlace) -> TaskForm:
    form = _text_form(head, place, head.labels, "single_label_classification")
    if place.options.get("threshold") is None:
        return form
    return form._replace(thresholds={place.options["positive"]: float(head.threshold)})


@form_of.register(Multilabel)
def _multilabel(head: Multilabel, place: HeadPlace) -> TaskForm:
    form = _text_form(head, place, head.labels, "multi_label_classification")
    return form._replace(thresholds=dict(zip(head.labels, head.thresholds.tolist(), strict=True)))


@form_of.register(Regression)
def _regression(head: Regression, place: HeadPlace) -> TaskForm:
    """The class's logit is the number in the units of the labels, so their range becomes part of the weights."""
    form = _text_form(head, place, ("score",), "regression")
    low, high = torch.cat(head.outputs(torch.tensor([[0.0], [1.0]]), torch.empty(0), {})).tolist()
    *others, weight, bias = form.weights
    scaled = {weight: form.weights[weight] * (high - low), bias: form.weights[bias] * (high - low) + low}
    plain = form.logits
    return form._replace(
        weights={**{name: form.weights[name] for name in others}, **scaled},
        logits=lambda states, mask: low + plain(states, mask) * (high - low),
    )


@form_of.register(RelationClassification)
def _relation(head: RelationClassification, place: HeadPlace) -> TaskForm:
    form = _sequence_form(place, head.text_pooling, head.classifier, head.labels)
    reads, example = _marked_pair(head)
    return form._replace(reads=reads, example=example)


@form_of.register(MentionClassification)
def _mention_classification(head: MentionClassification, place: HeadPlace) -> TaskForm:
    form = _sequence_form(place, head.text_pooling, head.classifier, head.labels)
    reads = f"The mention must be marked in its {head.labelling.scope}, with a blank on both sides of a marker."
    return form._replace(reads=reads, example=markers("No fever today.", [((3, 8),)], []).text)


@form_of.register(TokenClassification)
def _token_classification(head: TokenClassification, place: HeadPlace) -> TaskForm:
    problems = _hidden_layer_problems(place, head.projection)
    if head.crf is not None:
        message = "must be 'linear', because no class of transformers has a CRF, got 'crf'."
        problems.append(place.refuse("decoder", message, f"Train with decoder: linear, {PREDICT}."))
    if problems:
        raise InputError(problems)
    return TaskForm(
        TOKENS,
        tuple(_as_bio(tag) for tag in head.tags),
        None,
        _named(_linear(head.projection)[-1], "classifier"),
        lambda states, _: cast(Tensor, head.projection(states)),
        stride=head.stride,
        strict=head.scheme != "IO" and place.options.get("spans", "strict") == "strict",
    )


def _as_bio(tag: str) -> str:
    """A tag as `pipeline` reads it, which knows only B- and I-.

    >>> [_as_bio(tag) for tag in ("O", "B-Drug", "L-Drug", "U-Drug")]
    ['O', 'B-Drug', 'I-Drug', 'B-Drug']
    """
    prefix, dash, kind = tag.partition("-")
    return {"U": "B", "L": "I"}.get(prefix, prefix) + dash + kind


def _text_form(head: TextHead, place: HeadPlace, labels: Sequence[str], problem_type: str) -> TaskForm:
    problems = []
    if head.reading.pair == "apart":
        message = "must be 'together', because the class reads the texts of a pair as one sequence, got 'apart'."
        problems.append(place.refuse("pair", message, f"Train with pair: together, {PREDICT}."))
    if head.reading.long == "windows":
        message = "must be 'cut', because the class reads one sequence, got 'windows'."
        problems.append(place.refuse("long", message, f"Train with long: cut and a larger max_length, {PREDICT}."))
    form = _sequence_form(place, head.pooling, head.output, labels, problems)
    return form._replace(problem_type=problem_type)


def _sequence_form(
    place: HeadPlace,
    pooling: SequencePooling | None,
    output: nn.Module | None,
    labels: Sequence[str],
    problems: Sequence[Problem] = (),
) -> TaskForm:
    """A pooling and an output layer in the class for sequence classification.

    Raises:
        InputError: The class cannot hold them, or there are problems already.
    """
    problems = [*problems, *_hidden_layer_problems(place, output), *_pooling_problems(place, pooling)]
    if problems:
        raise InputError(problems)
    pooler = pooler_of(place.config, 0.0)
    assert pooling is not None
    assert pooling.layers is not None
    assert output is not None
    assert pooler is not None
    weights: dict[str, Tensor] = {}
    for own, theirs in pooler.names.items():
        weights |= _named(pooling.layers.get_submodule(own), theirs)
    weights |= _named(_linear(output)[-1], pooler.output)
    return TaskForm(
        SEQUENCES,
        tuple(labels),
        "single_label_classification",
        weights,
        lambda states, mask: cast(Tensor, output(pooling(states, mask))),
    )


def _pooling_problems(place: HeadPlace, pooling: SequencePooling | None) -> list[Problem]:
    if is_causal(place.config):
        message = f"The class of the family {place.config.model_type} has an output layer without bias."
        return [Problem("encoder.kind", message, f"Train an encoder, {PREDICT}.")]
    if pooling is not None and pooling.kind == "pooler":
        return []
    if place.config.model_type not in FAMILIES:
        message = f"How the class of the family {place.config.model_type} reads a text is not known."
        return [Problem("encoder.name", message, f"Train another encoder with pooling: pooler, {PREDICT}.")]
    found = place.options.get("pooling") or "cls"
    message = f"must be 'pooler', which is how the class for {place.config.model_type} reads a text, got '{found}'."
    return [place.refuse("pooling", message, f"Train with pooling: pooler, {PREDICT}.")]


def _hidden_layer_problems(place: HeadPlace, output: nn.Module | None) -> list[Problem]:
    if output is None or len(_linear(output)) == 1:
        return []
    message = f"must be left out, because the class has no such layer, got {place.options.get('hidden_layer')}."
    return [place.refuse("hidden_layer", message, f"Train without it, {PREDICT}.")]


def _marked_pair(head: RelationClassification) -> tuple[str, str]:
    """How the text of a pair must be marked, and an example."""
    text, aspirin, cox = "COX-2 is inhibited by aspirin.", [((22, 29),)], [((0, 5),)]
    about = f"Each pair of mentions is read alone, in its {head.pairing.scope}; `{head.negative}` means no relation."
    if head.input == "markers":
        how = "Both must be marked, with a blank on both sides of a marker; the head below is aspirin."
        return f"{about} {how}", markers(text, aspirin, cox).text
    if head.input == "typed":
        tokens = ", ".join(f"`{token}`" for token in head.special_tokens())
        how = f"Both must be replaced by the placeholders of their types: {tokens}."
        if head.types:
            return f"{about} {how}", typed(text, aspirin, cox, *head.types[0]).text
        return f"{about} {how}", f"{head.placeholders[-1]} is inhibited by {head.placeholders[0]}."
    return f"{about} Nothing marks the pair, so all pairs of a text get the same class.", text


def _linear(output: nn.Module) -> list[nn.Linear]:
    return [layer for layer in output.modules() if isinstance(layer, nn.Linear)]


def _named(layer: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights of a layer, the bias last, under another name."""
    return {f"{name}.{own}": value.detach() for own, value in layer.named_parameters()}

"""Generation: a causal language model continues a text with what is known about it, which is then read back.

An input is the text (`source`), optional added tokens (the soft prompt), and what is to be written (`target`). These
conventions hold in training, scoring and baselines:

- The target is made from the gold by the template of a kind of task (`heads._generation_kinds`) and ends with the
  tokenizer's token for the end of a text. Training refuses a row whose gold cannot be read back from its target, or
  makes a longer one than `max_new_tokens`. Evaluations score it: what cannot be written is missed.
- `max_new_tokens` are always kept free for the target, so that a text is cut at the same place with and without gold.
- The loss is the mean over tokens. In evaluations it is computed with the gold before each token, and the prediction
  without any gold: prompts are padded on the left and continued by transformers' `generate`.

Shapes: B examples, T tokens, H hidden size, V vocabulary, K predicted tokens of an example on average, rounded up,
P tokens of the longest prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from heads import IGNORE, ClassReport, Example, Head, LoadedEncoder, Prediction, Relation, Row, SpanRow, TextRow
from heads._causal import is_causal
from heads._generated_labels import Answer, DocumentLabels
from heads._generated_texts import Definition
from heads._generated_triples import Triples
from heads._generation_inputs import Inputs
from heads._generation_kinds import PARSE_FAILURES, GeneratedKind, Parsed
from heads._language_model import LanguageModel
from heads._metrics import selected_metrics
from heads._text import choice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["triples", "answer", "labels", "definition"]

_KINDS: Mapping[Kind, type[GeneratedKind]] = {
    "triples": Triples,
    "answer": Answer,
    "labels": DocumentLabels,
    "definition": Definition,
}


class Generation(Head):
    """Writes what it predicts as text, with a causal language model as the encoder.

    The layers between the states and the scores of the vocabulary are those of transformers' class for causal language
    modelling of the encoder's family, from its checkpoint; `attach` says so if they start from random weights.

    Kinds of task, and their metrics:

    - `triples`: the relations of a `SpanRow`. `triple_micro_f1` pools the triples of all documents, and
      `triple_document_f1` is the mean of the F1 of the documents that have a triple in gold or prediction, which BioGPT
      reports as "micro F1" for KD-DTI and DDI; with `triple_precision` and `triple_recall`.
    - `answer`: one label. `accuracy` and `macro_f1`.
    - `labels`: any number of labels. `micro_f1` and `macro_f1`.
    - `definition`: a free text, the label of a `TextRow`. `token_f1` and `exact_match`.

    All have `parse_failure_rate`, the share of texts of which a part does not follow the template; lower is better.
    What cannot be read counts as wrong.

    Args:
        labels: Names of the classes or relation types; none for `definition`.
        hidden_size: H of the encoder.
        kind: What is predicted.
        source: The text that is read, with the fields {text} and, for pairs, {text_pair}.
        template: The text that says one relation, label, set of labels or definition, with the fields that the kind
            needs: {head}, {tail} and {type}, or {label}, {labels} or {text}. None takes BioGPT's.
        lowercase: Whether source and target are lowercased.
        loss_on: The tokens that are learned: "all" of the input, or those of the "target".
        soft_prompt: Number of tokens that are added to the vocabulary and stand between source and target. Tasks of one
            kind share them. All weights are trained (Luo et al. 2022), unlike in prompt tuning.
        directed: Whether (a, b) and (b, a) are two relations; only for `triples`.
        skip_empty: Whether training leaves out rows without a relation or label, as BioGPT does; they are scored.
        max_new_tokens: Largest number of tokens of a target, the end included.
        beams: Number of beams of the search; 1 decodes greedily.
        decode_limit: Largest number of documents of dev that an evaluation during training decodes and scores; None
            takes all. `mtl test` and `mtl validate` always take all.
        primary_metric: Name of the metric that selects checkpoints; None takes the first of the kind.

    Raises:
        ValueError: An option is out of range, a template lacks a field, or the labels do not suit the kind.
    """

    other_names = ("text_generation", "causal_lm", "seq2seq", "text2text", "language_model", "biogpt")
    row_type = (TextRow, SpanRow)
    lower_is_better = frozenset({"loss", PARSE_FAILURES})
    needs_offsets = False

    def __init__(
        self,
        labels: Sequence[str],
        hidden_size: int,
        *,
        kind: Kind,
        source: str = "{text}",
        template: str | None = None,
        lowercase: bool = False,
        loss_on: Literal["all", "target"] = "all",
        soft_prompt: int = 0,
        directed: bool = True,
        skip_empty: bool = False,
        max_new_tokens: int = 64,
        beams: int = 1,
        decode_limit: int | None = None,
        primary_metric: str | None = None,
    ) -> None:
        super().__init__(labels, hidden_size)
        for option, value, least in (
            ("soft_prompt", soft_prompt, 0),
            ("max_new_tokens", max_new_tokens, 2),
            ("beams", beams, 1),
            ("decode_limit", 1 if decode_limit is None else decode_limit, 1),
        ):
            if value < least:
                raise ValueError(f"{option} must be at least {least}, got {value}")
        choice("loss_on", loss_on, ("all", "target"))
        choice("kind", kind, get_args(Kind))
        if not directed and kind != "triples":
            raise ValueError(f"directed must be true, because only triples have two arguments; got kind: {kind}")
        self.kind = (
            Triples(labels, template, directed=directed) if kind == "triples" else _KINDS[kind](labels, template)
        )
        prompt = tuple(f"<{kind}{number}>" for number in range(1, soft_prompt + 1))
        self.inputs = Inputs(source, prompt, lowercase=lowercase, room=max_new_tokens)
        self._learns_all, self._skips_empty, self._beams = loss_on == "all", skip_empty, beams
        self.validation_documents = decode_limit
        self.writes_relations, self.writes_directed = isinstance(self.kind, Triples), directed
        primary = self.kind.metrics[0] if primary_metric is None else primary_metric
        self.metrics = selected_metrics(self.kind.metrics, [], [], primary, self.lower_is_better)
        self.primary_metric = primary
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.language_model: LanguageModel | None = None

    # --- rows -> examples -----------------------------------------------------------------------------------------

    def special_tokens(self) -> tuple[str, ...]:
        return self.inputs.prompt

    def read_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        self._tokenizer = tokenizer
        is_missing = tokenizer.eos_token_id is None
        return "the encoder's tokenizer must have a token for the end of a text, got none" if is_missing else None

    def encoder_problem(self, config: Any) -> str | None:
        if is_causal(config):
            return None
        return f"generation needs a causal language model (encoder.kind: causal), got the family {config.model_type}"

    def check(self, row: Row) -> str | None:
        return self.inputs.problem(row) or self.kind.problem(row)

    def training_problem(self, row: Row) -> str | None:
        """Why no target can be made of the row's gold."""
        return self._target_problem(row, self._tokenizer)

    def _target_problem(self, row: Row, tokenizer: PreTrainedTokenizerBase | None) -> str | None:
        problem, items = self.kind.unreadable(row), self.kind.items(row)
        if problem is not None or items is None or tokenizer is None:
            return problem
        return self.inputs.target_problem(self.kind.render(items), tokenizer)

    def notes(self, row: Row) -> Mapping[str, int]:
        """Whether no target can be made of the row's gold, so that it has no loss and counts as missed; the kind's."""
        return {"unwritable": int(self.training_problem(row) is not None), **self.kind.notes(row)}

    def is_labelled(self, row: Row) -> bool:
        return self.kind.items(row) is not None

    def label_counts(self, row: Row) -> Mapping[str, int]:
        return self.kind.label_counts(row)

    def unknown_labels(self, row: Row) -> Sequence[str]:
        return self.kind.unknown_labels(row)

    def encode(
        self, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_length: int, *, training: bool
    ) -> list[Example]:
        """One example for each row; unlabelled rows, and empty ones with `skip_empty`, are left out for training.

        A row without gold, or whose gold makes no target, ends before the target.

        `first` and `prompt_length` are the numbers of tokens before the first one that is learned, and before the
        target; `decodes` says that the example is for evaluation.

        Raises:
            ValueError: `max_length` leaves no room for text.
        """
        examples = []
        for index, row in enumerate(rows):
            items = self.kind.items(row)
            if training and (items is None or (self._skips_empty and not items)):
                continue
            source = self.inputs.source(row, tokenizer, max_length)
            written = items if training or self._target_problem(row, tokenizer) is None else None
            target = [] if written is None else self.inputs.target(self.kind.render(written), tokenizer)
            length = len(source.ids)
            first = 1 if self._learns_all else length
            examples.append(
                {
                    "row": index,
                    "input_ids": [*source.ids, *target],
                    "targets": length + len(target) - first if target else 0,
                    "truncated": source.is_cut,
                    "first": first,
                    "prompt_length": length,
                    "decodes": not training,
                }
            )
        return examples

    def collate(self, examples: Sequence[Example], length: int) -> dict[str, Tensor]:
        """The learned tokens of all examples one after the other, as [B, K], so that few places are filled up.

        `sequences` and `positions`: the token before each of them; `gold`: its id, `IGNORE` for filling. For
        evaluation also `prompt` and `prompt_mask`: the tokens before the target, padded on the left, [B, P].
        """
        learned = [
            (place, position - 1, example["input_ids"][position])
            for place, example in enumerate(examples)
            if example["targets"]
            for position in range(example["first"], len(example["input_ids"]))
        ]
        width = -(-len(learned) // len(examples)) if examples else 0
        learned += [(0, 0, IGNORE)] * (width * len(examples) - len(learned))
        columns = torch.tensor(learned, dtype=torch.long).reshape(len(examples), width, 3)
        fields = dict(zip(("sequences", "positions", "gold"), columns.unbind(-1), strict=True))
        if not any(example["decodes"] for example in examples):
            return fields
        prompts = [example["input_ids"][: example["prompt_length"]] for example in examples]
        longest = max(map(len, prompts))
        padded = [[IGNORE] * (longest - len(prompt)) + prompt for prompt in prompts]
        prompt = torch.tensor(padded, dtype=torch.long)
        return {**fields, "prompt": prompt, "prompt_mask": prompt != IGNORE}

    # --- states -> loss -------------------------------------------------------------------------------------------

    def attach(self, encoder: LoadedEncoder) -> str | None:
        """Takes the layers above the states from the encoder's checkpoint."""
        self.language_model = LanguageModel(encoder)
        shipped = encoder.causal_lm_weights()
        if shipped is None:
            return None
        if self.language_model.load(shipped):
            self.first_weights = "checkpoint" if dict(self.language_model.named_parameters()) else "token embeddings"
            return None
        self.first_weights = "random"
        return "the encoder has no language-model head, so that of this task starts from random weights"

    def causal_lm_weights(self) -> Mapping[str, Tensor]:
        return {} if self.language_model is None else dict(self.language_model.model.named_parameters())

    def forward(self, states: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Scores of the vocabulary for the learned tokens, [B, K, V]."""
        assert self.language_model is not None, "the head must be attached to an encoder"
        places = fields["sequences"] * states.shape[1] + fields["positions"]  # [B, K]
        read = states.flatten(0, 1).index_select(0, places.flatten())  # [B * K, H]
        logits: Tensor = self.language_model(read)
        return logits.view(*places.shape, logits.shape[-1])

    def loss(self, logits: Tensor, fields: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy and the number of learned tokens."""
        gold = fields["gold"]
        total = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), gold.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        return total, (gold != IGNORE).sum()

    # --- logits -> scores -----------------------------------------------------------------------------------------

    def outputs(self, logits: Tensor, mask: Tensor, fields: Mapping[str, Tensor]) -> list[Tensor]:
        """The ids of the generated tokens of each example; none for examples that are not for evaluation."""
        if "prompt" not in fields:
            return [logits.new_zeros(0, dtype=torch.float32) for _ in range(len(logits))]
        assert self.language_model is not None, "the head must be attached to an encoder"
        assert self._tokenizer is not None, "`read_tokenizer` comes first"
        eos_id = int(self._tokenizer.eos_token_id)
        pad_id = eos_id if self._tokenizer.pad_token_id is None else int(self._tokenizer.pad_token_id)
        found = self.language_model.generate(
            fields["prompt"].clamp(min=0),
            fields["prompt_mask"],
            eos_id=eos_id,
            pad_id=pad_id,
            most=self.inputs.room,
            beams=self._beams,
        )
        lengths = (found == eos_id).long().cumsum(1).eq(0).sum(1).tolist()  # tokens before the end
        # As float32, like the outputs of all heads, which holds ids up to 16 million.
        return [ids[:length].float() for ids, length in zip(found, lengths, strict=True)]

    def decode(self, row: Row, examples: Sequence[Example], outputs: Sequence[Tensor]) -> Prediction:
        """What the generated text says, in the form of the kind's `prediction`."""
        assert self._tokenizer is not None, "`read_tokenizer` comes first"
        ids = outputs[0].long().tolist()
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return self.kind.prediction(self.kind.parse(str(text)))

    def written_relations(self, prediction: Prediction) -> list[Relation]:
        items = self.kind.parsed(prediction).items if isinstance(self.kind, Triples) else ()
        return [Relation(*triple) for triple in items]

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The counts of the kind, [K]."""
        return self.kind.counts(prediction, row)

    def document_counts(self, counts: Sequence[Tensor]) -> Tensor:
        return self.kind.document_counts(torch.stack(list(counts)))

    def error(self, prediction: Prediction, row: Row) -> float:
        """The number of items that are missing or wrongly predicted."""
        return self.kind.num_mistakes(self.counts(prediction, row))

    def score(self, counts: Tensor) -> dict[str, float]:
        found = self.kind.score(counts.double())
        return {name: float(found[name]) for name in self.metrics}

    def many_scores(self, counts: Tensor, times: Tensor, metrics: Sequence[str]) -> dict[str, Tensor]:
        found = self.kind.score(times.double() @ counts.double())
        return {name: found[name] for name in metrics}

    def report(self, counts: Tensor) -> ClassReport:
        return self.kind.report(counts.double())

    def baselines(self, rows: Iterable[Row]) -> dict[str, Callable[[Sequence[Row]], list[Prediction]]]:
        """`majority`: the most frequent label, set of labels or text; `none`: no relation."""
        if isinstance(self.kind, Triples):
            return {"none": lambda rows: [self.kind.prediction(Parsed(())) for _ in rows]}
        known = Counter(items for items in map(self.kind.items, rows) if items is not None)
        if not known:
            return {}
        majority = Parsed(known.most_common(1)[0][0])
        return {"majority": lambda rows: [self.kind.prediction(majority) for _ in rows]}

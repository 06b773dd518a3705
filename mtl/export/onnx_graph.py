"""A run as one ONNX graph: the encoder once, and the logits of each task as an output of the task's name.

    model.onnx       inputs `input_ids`, `attention_mask` and, if the encoder reads them, `token_type_ids`, [B, T]
    graph.json       inputs, outputs, labels and what to do with the logits of each task
    tokenizer.json … the encoder's tokenizer, with the tokens of all heads
    README.md        the same in words

A head can be in the graph if its logits follow from the states of the input. It gets the position of every token as
`positions`, so a tagger gives scores for every token, of which the first of each word counts. Heads that read more,
such as the places of mentions or several windows, are refused by the name of what they read.

Shapes: B sequences, T tokens, H hidden size, C labels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from heads import Head
from mtl.encoder.packing import Layout
from mtl.export.graph_description import (
    DESCRIPTION,
    GRAPH,
    activation,
    columns,
    described_graph,
    graph_fields,
    graph_readme,
)
from mtl.files import require_empty, whole_folder, write_json, write_text
from mtl.prediction.trained_model import TrainedModel
from mtl.problems import InputError, Problem, did_you_mean

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture
    from mtl.training.module import MultiTaskModule

TOLERANCE = 1e-4
"""Largest difference of a logit between onnxruntime and PyTorch, relative to the largest logit if that is above 1."""

_LARGEST = 1_800_000_000
"""Bytes of weights that fit into one file of ONNX, which must be below 2 GiB; larger ones go to a second file."""


class ExportedGraph(NamedTuple):
    """What was written.

    Args:
        checkpoint: The checkpoint that was read.
        tasks: Names of the tasks whose logits are outputs.
        left_out: Why other tasks are not in the graph.
        difference: Largest difference of a logit between onnxruntime and PyTorch on inputs of several sizes.
    """

    checkpoint: Path
    tasks: tuple[str, ...]
    left_out: list[Problem]
    difference: float


def export_graph(run: str | Path, folder: str | Path, *, tasks: Sequence[str] = ()) -> ExportedGraph:
    """Writes the graph of a run, and compares it in onnxruntime with PyTorch before it becomes the folder.

    Args:
        run: As in `TrainedModel`.
        folder: The folder to write. It must not exist, or be empty.
        tasks: Names of the tasks; all that can be in a graph if there are none.

    Raises:
        InputError: The extra `onnx` is not installed, there is no such run, task or undamaged checkpoint, a named task
            cannot be in a graph, the folder has content, or the graph gives other logits than PyTorch.
    """
    _require_extra()
    folder = Path(folder)
    require_empty(folder)
    loaded = TrainedModel(run)
    mixture, module = loaded.mixture, loaded.module
    if mixture.encoder.kind == "causal":
        message = "is a causal language model, whose graph is not supported."
        raise InputError(Problem("encoder.kind", message, "Export it with mtl export RUN --encoder."))
    chosen, left_out = _chosen(mixture, module, tasks)
    graph = EncoderGraph(module.encoder.model, chosen, type_ids=_reads_types(module, loaded.tokenizer)).eval()
    with whole_folder(folder) as part:
        _write(graph, part / GRAPH)
        difference = _difference(graph, module, part / GRAPH)
        description = described_graph(mixture, chosen, graph.input_names, loaded.rows.num_texts)
        for task, temperature in loaded.temperatures.items():
            if task in chosen:
                description["tasks"][task]["temperature"] = temperature
        write_json(part / DESCRIPTION, description)
        write_text(part / "README.md", graph_readme(mixture.name, loaded.checkpoint, description, difference))
        # Longer texts are cut, as the tasks' own limits say.
        loaded.tokenizer.model_max_length = min(mixture.max_length_of(task) for task in chosen)
        loaded.tokenizer.save_pretrained(part)
    return ExportedGraph(loaded.checkpoint, tuple(chosen), left_out, difference)


class EncoderGraph(nn.Module):
    """The encoder with the heads of some tasks, as one module with tensors in and out.

    Args:
        model: The encoder's model.
        heads: The head of each task.
        type_ids: Whether the encoder reads token types.
    """

    def __init__(self, model: nn.Module, heads: Mapping[str, Head], *, type_ids: bool) -> None:
        super().__init__()
        self.model, self.tasks = model, tuple(heads)
        self.heads = nn.ModuleList(heads.values())
        self.input_names = ("input_ids", "attention_mask", *(("token_type_ids",) if type_ids else ()))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The logits of each task, [B, C] or [B, T, C].

        Args:
            inputs: `input_ids`, `attention_mask` and `token_type_ids`, [B, T].
        """
        states = self.model(**dict(zip(self.input_names, inputs, strict=True))).last_hidden_state
        return self.logits(states, inputs[1].bool())

    def logits(self, states: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The logits of each task from states [B, T, H] and the mask of tokens [B, T]."""
        states = states.float() * mask[..., None]  # as in training, where padding has no states
        return tuple(head(states, mask, graph_fields(mask)) for head in self.heads)


# --- what can be in a graph -------------------------------------------------------------------------------------------


def _chosen(mixture: Mixture, module: MultiTaskModule, tasks: Sequence[str]) -> tuple[dict[str, Head], list[Problem]]:
    unknown = [name for name in tasks if name not in mixture.tasks]
    if unknown:
        raise InputError(
            [Problem("--task", f"There is no task '{n}'.", did_you_mean(n, mixture.tasks)) for n in unknown]
        )
    heads = {name: module.head(name) for name in tasks or mixture.tasks}
    found = {name: _obstacle(head, mixture.tasks[name].head, name, module) for name, head in heads.items()}
    problems = [problem for problem in found.values() if problem is not None]
    chosen = {name: heads[name] for name, problem in found.items() if problem is None}
    if problems and (tasks or not chosen):
        raise InputError(problems)
    return chosen, problems


def _obstacle(head: Head, kind: str, task: str, module: MultiTaskModule) -> Problem | None:
    """Why the logits of a head do not follow from the states alone; None if they do."""
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    states = torch.zeros(*mask.shape, module.encoder.hidden_size)
    advice = "Predict it with mtl predict or mtl serve."
    try:
        with torch.no_grad():
            logits = head(states, mask, graph_fields(mask))
    except KeyError as missing:
        message = f"cannot be in a graph: its head {kind} reads {missing} besides the states of the input."
        return Problem(f"tasks.{task}", message, advice)
    is_known = isinstance(logits, Tensor) and logits.shape[:-1] in (mask.shape, mask.shape[:1])
    if is_known and logits.shape[-1] == len(columns(head)) and activation(head) is not None:
        return None
    message = f"cannot be in a graph: its head {kind} gives no logits of labels or tags for each text or token."
    return Problem(f"tasks.{task}", message, advice)


def _reads_types(module: MultiTaskModule, tokenizer: Any) -> bool:
    has_types = getattr(module.encoder.config, "type_vocab_size", 0) > 1
    return has_types and "token_type_ids" in tokenizer.model_input_names


def _require_extra() -> None:
    """Checks that the packages of the extra are installed.

    Raises:
        InputError: They are not.
    """
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        message = f"needs packages that are not installed: {', '.join(missing)}."
        raise InputError(Problem("--format", message, "Install the extra: pip install 'biomtl[onnx]'."))


# --- writing and comparing --------------------------------------------------------------------------------------------


def _write(graph: EncoderGraph, path: Path) -> None:
    """Traces the graph with attention in plain operations, for any number and length of sequences."""
    model: Any = graph.model
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, of which no encoder has a part
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    names = graph.input_names
    try:
        program = torch.onnx.export(
            graph,
            _inputs(graph, 2, 7),
            dynamo=True,
            input_names=names,
            output_names=graph.tasks,
            dynamic_shapes=(tuple(dynamic for _ in names),),
            verbose=False,
        )
    finally:
        model.set_attn_implementation(implementation)
    assert program is not None
    size = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    program.save(str(path), external_data=size > _LARGEST)


def _inputs(graph: EncoderGraph, num: int, longest: int) -> tuple[Tensor, ...]:
    """Random sequences of different lengths, with padding."""
    model: Any = graph.model
    generator = torch.Generator().manual_seed(num)
    ids = torch.randint(0, model.get_input_embeddings().weight.shape[0], (num, longest), generator=generator)
    lengths = torch.tensor([max(1, longest - 2 * index) for index in range(num)])
    mask = torch.arange(longest)[None] < lengths[:, None]
    pad_id = getattr(model.config, "pad_token_id", None) or 0
    ids = torch.where(ids == pad_id, (pad_id + 1) % 2, ids).where(mask, pad_id)
    types = (torch.arange(longest)[None] > lengths[:, None] // 2).long() * mask
    return (ids, mask.long(), types)[: len(graph.input_names)]


def _difference(graph: EncoderGraph, module: MultiTaskModule, path: Path) -> float:
    """The largest difference of a logit at a token, in onnxruntime and as the framework itself predicts.

    Raises:
        InputError: It is above `TOLERANCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for num, longest in ((1, 1), (1, 12), (3, 9), (4, 30)):
        inputs = _inputs(graph, num, longest)
        names = [one.name for one in session.get_inputs()]
        found = session.run(list(graph.tasks), {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
        mask = inputs[1].bool()
        with torch.no_grad():
            expected = graph.logits(_states(module, inputs), mask)
        for theirs, ours in zip(found, expected, strict=True):
            gaps = (torch.from_numpy(theirs) - ours).abs()
            gaps = gaps[mask] if gaps.shape[:2] == mask.shape and gaps.dim() == 3 else gaps
            scale = max(1.0, float(ours.abs().max()))
            largest = max(largest, float(gaps.max()) / scale)
    if not largest <= TOLERANCE:
        message = f"gives logits that differ from those of PyTorch by {largest:.2g}, which is above {TOLERANCE:g}."
        raise InputError(Problem("--format", message, "Please report it with the family of the encoder."))
    return largest


def _states(module: MultiTaskModule, inputs: Sequence[Tensor]) -> Tensor:
    """The states [B, T, H] of padded inputs, by the framework's own encoder."""
    mask = inputs[1].bool()
    layout = Layout(mask.sum(1).tolist())
    ids, types = (
        layout.packed([row[m].tolist() for row, m in zip(x, mask, strict=True)]) for x in (inputs[0], inputs[-1])
    )
    states: Tensor = module.encoder(ids, layout, types if len(inputs) == 3 else None)
    return states

"""What an ONNX graph of a run gives, for programs and in words: labels, activations, thresholds, CRFs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from heads import Head
from heads._crf import CRF
from mtl.files import finite
from mtl.markdown import table

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture, TaskSpec

GRAPH, DESCRIPTION = "model.onnx", "graph.json"


def graph_fields(mask: Tensor) -> dict[str, Tensor]:
    """What a head in a graph may read besides the states: every token as the first of a word."""
    return {"positions": torch.arange(mask.shape[1], device=mask.device)[None].expand(mask.shape[0], -1)}


def columns(head: Head) -> tuple[str, ...]:
    """Names of the logits: tags of a tagger, otherwise labels; `value` for a regression."""
    return tuple(getattr(head, "tags", ()) or head.labels or ("value",))


def _is_tagger(head: Head) -> bool:
    return bool(getattr(head, "tags", ()))


def described_graph(
    mixture: Mixture, heads: Mapping[str, Head], inputs: Sequence[str], num_texts: Mapping[str, int | None]
) -> dict[str, Any]:
    """The content of `graph.json`.

    Args:
        mixture: The mixture.
        heads: The head of each task in the graph.
        inputs: Names of the inputs.
        num_texts: Number of texts of each row by task, as in `TrainedRows`.
    """
    return {
        "graph": GRAPH,
        "mixture": mixture.name,
        "inputs": {name: {"type": "int64", "shape": ["batch", "length"]} for name in inputs},
        "tasks": {
            name: _described(head, mixture.tasks[name])
            | {"max_length": mixture.max_length_of(name), "num_texts": num_texts.get(name)}
            for name, head in heads.items()
        },
    }


def _described(head: Head, spec: TaskSpec) -> dict[str, Any]:
    """The output of a head: what its columns are, and what its own `outputs` makes of them."""
    names = columns(head)
    is_tagger = _is_tagger(head)
    found: dict[str, Any] = {
        "head": spec.head,
        "shape": ["batch", "length", len(names)] if is_tagger else ["batch", len(names)],
        "columns": list(names),
        "activation": activation(head),
    }
    if is_tagger:
        found["counts"] = "the first token of each word"
    if head.pairing is not None or head.labelling is not None:
        found["reads"] = "one candidate with marked mentions; for other texts the output means nothing"
    buffers = dict(head.named_buffers(recurse=False))
    if "thresholds" in buffers:
        found["thresholds"] = buffers["thresholds"].tolist()
    if "threshold" in buffers and spec.options.get("threshold") is not None:
        found |= {"positive": spec.options.get("positive"), "threshold": float(buffers["threshold"])}
    crf = next((one for one in head.modules() if isinstance(one, CRF)), None)
    if crf is not None:
        named = {
            "start": crf.start.masked_fill(crf.illegal_start, -torch.inf),
            "transitions": crf.transitions.masked_fill(crf.illegal_transitions, -torch.inf),
            "end": crf.end.masked_fill(crf.illegal_end, -torch.inf),
        }
        found["crf"] = finite({name: value.tolist() for name, value in named.items()})
    return found


def activation(head: Head) -> dict[str, Any] | None:
    """What the head makes of its logits, found by trying it; None if it is something else."""
    shape = (2, 3, len(columns(head))) if _is_tagger(head) else (2, len(columns(head)))
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 3, dtype=torch.bool)
    with torch.no_grad():
        outputs = list(head.outputs(logits, mask, {"word_mask": mask, **graph_fields(mask)}))
    if any(output.shape != logits.shape[1:] for output in outputs):
        return None
    made = torch.stack(outputs)
    for name, expected in {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}.items():
        if torch.allclose(made, expected, atol=1e-6):
            return {"name": name}
    (low, high), (first, second) = made.flatten()[:2].tolist(), logits.flatten()[:2].tolist()
    scale = (high - low) / (second - first)
    is_linear = torch.allclose(made, low + scale * (logits - first), atol=1e-4)
    return {"name": "linear", "scale": scale, "offset": low - scale * first} if is_linear else None


def graph_readme(name: str, checkpoint: Path, description: Mapping[str, Any], difference: float) -> str:
    """The README of the folder.

    Args:
        name: Name of the mixture.
        checkpoint: The checkpoint.
        description: Result of `described_graph`.
        difference: Largest difference of a logit between onnxruntime and PyTorch.
    """
    rows = [
        (task, one["head"], one["shape"], ", ".join(one["columns"]), _said(one))
        for task, one in description["tasks"].items()
    ]
    lines = [
        f"# {name} as an ONNX graph",
        "",
        f"`{GRAPH}` holds the encoder of {checkpoint.name} once, and one output for each task. Inputs, each"
        f" [batch, length] of int64: {', '.join(description['inputs'])}. Any number of sequences and any length up to"
        " the encoder's own is possible; pad on the right, with 0 in `attention_mask`.",
        "",
        f"`AutoTokenizer` loads this folder. `{DESCRIPTION}` has this table for programs, with thresholds and maximum"
        " lengths. Windows of long texts, the decoding of entities and everything else after the logits are not in the"
        " graph.",
        "",
        *table(["output", "head", "shape", "columns", "then"], rows),
        f"Logits in onnxruntime differed from those in PyTorch by at most {difference:.1e} when it was written.",
    ]
    return "\n".join([*lines, ""])


def _said(one: Mapping[str, Any]) -> str:
    """What to do with the output of a task."""
    found = one["activation"]
    word = {
        "none": "",
        "linear": f"{found.get('offset', 0):g} + {found.get('scale', 1):g} * logit",
    }.get(found["name"], found["name"])
    if "temperature" in one and "crf" not in one:  # that of a CRF is one of its marginals
        word += f" of logits / {one['temperature']:.4g} for calibrated probabilities, of logits for thresholds"
    parts = [word, one.get("counts", ""), one.get("reads", "")]
    if "crf" in one:
        parts.append(f"emissions of a CRF: decode with Viterbi and the scores in {DESCRIPTION}, null is forbidden")
        if "temperature" in one:
            power = f"1 / {one['temperature']:.4g}"
            parts.append(f"calibrated probabilities are the marginals to the power {power}, normalised")
    if one["num_texts"] == 2:
        parts.append("reads pairs")
    return "; ".join(filter(None, parts))

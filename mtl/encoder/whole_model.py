"""An encoder with everything of its checkpoint that can be trained further, to be changed and saved as a new one.

A class of transformers for masked language modelling has no pooler, and the plain encoder has no head for masked
language modelling. A checkpoint may have both; `WholeModel` keeps both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mtl.encoder.location import cached_only, encoder_folder, load_problems, trained_of
from mtl.encoder.pretrained import masked_lm_weights, without_reports
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.config.mixture import EncoderSpec

DECIDES_RESULTS = False


class WholeModel(NamedTuple):
    """A model in fp32, without dropout.

    Args:
        model: The class for masked language modelling if the checkpoint has all of its weights, otherwise the encoder.
        encoder: The encoder in it; `model` itself if there is no head.
        pooler: Weights of the pooler that `model` lacks, by their names in a checkpoint of `model`.
        random: Names of weights of `model` that the checkpoint lacks, such as those of a pooler.
    """

    model: Any
    encoder: Any
    pooler: dict[str, Tensor]
    random: frozenset[str]

    @property
    def has_masked_lm(self) -> bool:
        """Whether there is a head for masked language modelling."""
        return self.model is not self.encoder

    @property
    def inputs(self) -> torch.nn.Parameter:
        """The table of token embeddings."""
        table: torch.nn.Parameter = self.model.get_input_embeddings().weight
        return table

    @property
    def decoder(self) -> torch.nn.Linear | None:
        """The output layer of the head; None without a head."""
        found: torch.nn.Linear | None = self.model.get_output_embeddings() if self.has_masked_lm else None
        return found

    @property
    def outputs(self) -> Tensor | None:
        """The table of the output layer; None if there is none, or if it is the table of token embeddings."""
        return None if self.decoder is None or self.decoder.weight is self.inputs else self.decoder.weight

    def save(self, folder: Path) -> None:
        """Writes the configuration and the weights to a folder, which `AutoModel` and `AutoModelForMaskedLM` load.

        Weights that the checkpoint lacked are left out, so that they do not pass for trained ones.
        """
        weights = {name: value for name, value in self.model.state_dict().items() if name not in self.random}
        self.model.save_pretrained(folder, state_dict={**weights, **self.pooler})


def load_whole_model(spec: EncoderSpec) -> WholeModel:
    """An encoder, with its head for masked language modelling if the checkpoint has a complete one.

    Raises:
        InputError: The encoder cannot be loaded, or it is a run.
    """
    from transformers import AutoModel, AutoModelForMaskedLM

    if trained_of(spec.name) is not None:
        advice = "Write its encoder to a folder with `mtl export RUN --encoder --to FOLDER`, and name that."
        raise InputError(Problem("encoder.name", f"must be a model, got the run '{spec.name}'.", advice))
    folder, revision = encoder_folder(spec.name), spec.revision or "main"
    # Its report would name the head, which is loaded afterwards, and weights that are left out.
    with load_problems(spec), without_reports():
        encoder, loading = AutoModel.from_pretrained(
            folder,
            revision=revision,
            local_files_only=cached_only(folder, revision),
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = frozenset(loading["missing_keys"])
    without_head = WholeModel(encoder.eval(), encoder, {}, missing)
    shipped = masked_lm_weights(spec)
    if not shipped:
        return without_head
    make: Any = AutoModelForMaskedLM.from_config
    model = make(encoder.config, dtype=torch.float32)
    prefix = f"{model.base_model_prefix}."
    own = {name for name, _ in model.named_parameters(remove_duplicate=False) if not name.startswith(prefix)}
    if own - shipped.keys():
        return without_head
    weights = {f"{prefix}{name}": weight for name, weight in encoder.state_dict().items()}
    lacking = model.load_state_dict({**weights, **shipped}, strict=False)
    assert not lacking.missing_keys, f"the encoder of the head has other weights: {lacking.missing_keys}"
    pooler = {name: weights[name] for name in lacking.unexpected_keys if name.removeprefix(prefix) not in missing}
    return WholeModel(model.eval(), model.base_model, pooler, frozenset())

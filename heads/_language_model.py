"""The layers of a causal language model above its states, and the generation of text with it.

Shapes: B texts, P tokens of the longest prompt, N tokens, H hidden size, V vocabulary, L generated tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from heads import LoadedEncoder


class LanguageModel(nn.Module):
    """Transformers' class for causal language modelling around an encoder, which stays the encoder's.

    Its own layers, which are between the states and the scores of the vocabulary, are the same code in training and in
    generation. An output layer that is tied to the token embeddings has no weights here.

    Args:
        encoder: The encoder, with its table of token embeddings.
    """

    def __init__(self, encoder: LoadedEncoder) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__()
        make: Any = AutoModelForCausalLM.from_config
        with torch.device("meta"):
            model = make(copy.deepcopy(encoder.config), dtype=torch.float32)
        self._base: list[Any] = [encoder.model]  # a list, because an attribute would register it as a part of the head
        self._prefix: str = model.base_model_prefix
        output = model.get_output_embeddings()
        self.is_tied = output.weight is model.get_input_embeddings().weight
        """Whether the output layer is the table of token embeddings."""
        setattr(model, self._prefix, _GivenStates())
        if self.is_tied:
            bias = None if output.bias is None else output.bias.shape
            name = next(name for name, module in model.named_modules() if module is output)
            model.set_submodule(name, _TiedOutput(encoder.token_embeddings, bias))
        self.model = model.to_empty(device="cpu")
        self.model.config = encoder.config
        self._initialise(float(getattr(encoder.config, "initializer_range", 0.02)))

    def load(self, weights: Mapping[str, Tensor]) -> bool:
        """Takes the weights of a checkpoint, by their names in transformers' class.

        Tokens that were added since get the mean of the known rows of the output layer.

        Returns:
            Whether the checkpoint has all of them; if not, nothing is changed.
        """
        own = dict(self.model.named_parameters())
        if not weights.keys() >= own.keys():
            return False
        with torch.no_grad():
            for name, parameter in own.items():
                known = weights[name]
                parameter[: len(known)] = known
                parameter[len(known) :] = known.mean(0)
        return True

    def forward(self, states: Tensor) -> Tensor:
        """Scores of the vocabulary for the token after each state, [N, H] -> [N, V]."""
        scores: Tensor = self.model(inputs_embeds=states[None]).logits[0]
        return scores

    @torch.no_grad()
    def generate(self, ids: Tensor, mask: Tensor, *, eos_id: int, pad_id: int, most: int, beams: int) -> Tensor:
        """The tokens that follow each prompt, [B, P] -> [B, L], with `eos_id` after the last one.

        Args:
            ids: Prompts, padded on the left.
            mask: True at tokens and False at padding.
            eos_id: Id of the token that ends a text.
            pad_id: Id of padding.
            most: Largest L.
            beams: Number of beams; 1 takes the most probable token each time.
        """
        from transformers import GenerationConfig

        settings = GenerationConfig(  # type: ignore[no-untyped-call]  # of transformers
            max_new_tokens=most, num_beams=beams, do_sample=False, eos_token_id=eos_id, pad_token_id=pad_id
        )
        with self._whole() as model:
            found: Tensor = model.generate(input_ids=ids, attention_mask=mask.long(), generation_config=settings)
        return found[:, ids.shape[1] :]

    @contextmanager
    def _whole(self) -> Iterator[Any]:
        """The model with the encoder in it, in evaluation mode and with an attention that can decode."""
        (base,) = self._base
        given, implementation = getattr(self.model, self._prefix), base.config._attn_implementation
        was_training, head_was_training = base.training, self.model.training
        if implementation not in ("eager", "sdpa", "flash_attention_2"):
            base.set_attn_implementation("sdpa" if type(base)._supports_sdpa else "eager")
        setattr(self.model, self._prefix, base)
        # The layers above compute in fp32, as in training, whatever the precision of the encoder.
        in_fp32 = base.register_forward_hook(_in_single_precision)
        try:
            yield self.model.eval()
        finally:
            in_fp32.remove()
            setattr(self.model, self._prefix, given)
            base.train(was_training)
            self.model.train(head_was_training)
            base.set_attn_implementation(implementation)

    def _initialise(self, spread: float) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=spread)
                else:
                    nn.init.constant_(parameter, float(name.endswith("weight")))


def _in_single_precision(module: nn.Module, arguments: Any, output: Any) -> Any:
    output.last_hidden_state = output.last_hidden_state.float()
    return output


class _GivenStates(nn.Module):
    """Stands for the encoder where its states are known."""

    @property
    def decoder(self) -> _GivenStates:
        """What OPT calls."""
        return self

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=inputs_embeds)


class _TiedOutput(nn.Module):
    """An output layer whose weights are the table of token embeddings.

    Args:
        table: The table.
        bias: Shape of the bias; None for none.
    """

    def __init__(self, table: nn.Embedding, bias: torch.Size | None) -> None:
        super().__init__()
        self._table = [table]
        self.bias = None if bias is None else nn.Parameter(torch.zeros(bias))

    @property
    def weight(self) -> Tensor:
        """The table, [V, H], which code of transformers may look for."""
        return self._table[0].weight

    def forward(self, states: Tensor) -> Tensor:
        return linear(states, self.weight.to(states.dtype), self.bias)

"""The heads that train each task, with the options that the curriculum gives them at each update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from heads import Head
from mtl.config.curriculum import phases
from mtl.config.mixture import build_head
from mtl.seeding import separate_draws

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from heads import LoadedEncoder
    from mtl.config.mixture import Mixture


class PhaseHeads:
    """The head that trains a task, by update.

    Where a curriculum changes options, another head with these options takes over. It has the weights of the task's
    own head, which alone is evaluated, optimised and saved. Which head trains is a function of the update, so preparing
    batches ahead and resuming change nothing.

    Args:
        heads: The task's own heads, whose options are those at the start.
        changes: The heads of the tasks whose options differ from their own head's, from an update on; in the order of
            the updates. A task without a head in an entry is trained with its own one.
    """

    def __init__(self, heads: Mapping[str, Head], changes: Sequence[tuple[int, Mapping[str, Head]]] = ()) -> None:
        self._own = dict(heads)
        self._changes = [(from_step, dict(changed)) for from_step, changed in changes]

    @classmethod
    def of(
        cls, mixture: Mixture, heads: Mapping[str, Head], tokenizer: PreTrainedTokenizerBase, *, hidden_size: int = 1
    ) -> PhaseHeads:
        """The heads by update of a mixture.

        Args:
            mixture: The mixture, whose curriculum is valid.
            heads: The own heads of its tasks, or of some of them.
            tokenizer: The encoder's tokenizer.
            hidden_size: H of the encoder; any will do for heads that only draw.
        """
        changes: list[tuple[int, dict[str, Head]]] = []
        options = {name: mixture.tasks[name].options for name in heads}
        current: dict[str, Head] = {}
        for from_step, changed in phases(mixture):
            for name in heads:
                spec = changed.tasks[name]
                if spec.options != options[name]:
                    with separate_draws():  # its first weights are not used
                        current[name] = build_head(spec, hidden_size)
                    current[name].read_tokenizer(tokenizer)
                    options[name] = spec.options
            changes.append((from_step, dict(current)))
        return cls(heads, changes)

    def at(self, task: str, update: int) -> Head:
        """The head of a task at an update, counted from 0."""
        current = next((heads for from_step, heads in reversed(self._changes) if from_step <= update), {})
        return current.get(task, self._own[task])

    def attach(self, encoder: LoadedEncoder) -> None:
        """Attaches the heads that take over to the encoder, without weights."""
        for _, head in self._others():
            with separate_draws():
                head.attach(_WithoutWeights(encoder))

    def share_weights(self, device: torch.device) -> None:
        """Gives the heads that take over the weights of the own heads; called when those are on their device.

        Raises:
            ValueError: The shapes of weights depend on an option that a head lists as `changeable`.
        """
        for task, head in self._others():
            own = self._own[task].state_dict(keep_vars=True)
            if _shapes(own) != _shapes(head.state_dict()):
                raise ValueError(
                    f"changeable options of the head of '{task}' must not change the shapes of its weights"
                )
            for name, weight in own.items():
                module, _, attribute = name.rpartition(".")
                setattr(head.get_submodule(module), attribute, weight)
            head.to(device).train()

    def _others(self) -> Iterator[tuple[str, Head]]:
        """The heads that take over, each once, with their task."""
        found = {id(head): (task, head) for _, heads in self._changes for task, head in heads.items()}
        yield from found.values()


class _WithoutWeights:
    """An encoder for a head that gets its weights from another head, since reading those of the checkpoint takes time.

    Args:
        encoder: The encoder, with or without weights.
    """

    shipped = None

    def __init__(self, encoder: LoadedEncoder) -> None:
        self.config, self.token_embeddings, self.model = encoder.config, encoder.token_embeddings, encoder.model

    def causal_lm_weights(self) -> None:
        return None

    def masked_lm_weights(self) -> None:
        return None


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in state.items()}

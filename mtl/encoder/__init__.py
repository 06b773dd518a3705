"""The shared encoder: loads a Hugging Face model and adapts it to the mixture and the device.

- `pretrained`: configuration, tokenizer and weights.
- `composing`: accents that a tokenizer reads alike as one character and as two.
- `location`: where an encoder's files are, and a hash of them for the keys of runs.
- `trained_run`: the encoder that a run has trained.
- `model`: `Encoder`, the module that computes the hidden states.
- `layers`: its embeddings and layers by depth; `reinitialisation`: random weights for the top layers.
- `families`: whether the batches of a model family are packed; `catalogue_page`: the catalogue as Markdown.
- `outline`: an encoder without its weights, for checks.
- `self_check`: whether packed batches have the states of transformers' own attention, at the load and on the device.
- `whole_model`: an encoder with its pooler and head for masked language modelling, to be saved as a new one.
- `packing`: the layout of a batch without padding.
- `packed_attention`: attention within the sequences of a packed row.
- `cpu_dropout`: faster dropout on a CPU.
- `graphs`: CUDA graphs of the packed encoder, off by default.
- `compilation`: `torch.compile`, tested before training starts.

Next: `mtl.training`, which trains it with the heads.
"""

__all__ = [
    "catalogue_page",
    "compilation",
    "families",
    "graphs",
    "layers",
    "location",
    "model",
    "outline",
    "packing",
    "pretrained",
    "self_check",
    "trained_run",
    "whole_model",
]

"""Writes what a run has trained as folders that other programs load.

- `hugging_face`: the encoder, with its tokenizer and its head for masked language modelling, for transformers.
- `model_card`: the facts of the run, as the README of such a folder.
"""

DECIDES_RESULTS = False

__all__ = ["hugging_face"]

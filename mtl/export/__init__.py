"""Writes what a run has trained as folders that other programs load.

- `hugging_face`: the encoder, with its tokenizer and its head for language modelling, for transformers.
- `task_model`: a task, as a class of transformers for tokens or sequences; `task_forms` says what it is there.
- `model_card`, `task_card`, `evaluation_results`: the facts of the run, as the README of such a folder and as scores
  for the hub.
- `onnx_graph`: the encoder with the heads of several tasks, as one ONNX graph; `graph_description` says what it gives.
- `agreement`: how often an exported task finds what `mtl predict` finds.
- `hub`: writes a folder to the Hugging Face hub.
"""

DECIDES_RESULTS = False

__all__ = ["agreement", "hub", "hugging_face", "onnx_graph", "task_model"]

"""The shared encoder: loading a Hugging Face model and shaping it to the mixture and the device.

- `pretrained`: configuration, tokenizer and weights.
- `location`: where an encoder's files are, and a hash of them for the keys of runs.
- `model`: `Encoder`, the module that gives states.
- `cpu_attention`, `cpu_dropout`: speed-ups for training on a CPU.
- `compilation`: `torch.compile`, tried before it is trusted.

Next: `mtl.training`, which trains it with the heads.
"""

__all__ = ["compilation", "cpu_attention", "cpu_dropout", "location", "model", "pretrained"]

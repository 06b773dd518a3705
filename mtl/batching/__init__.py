"""Which examples each training step trains, as pure functions of seed and position.

- `batcher`: the stream of batches of one task.
- `schedule`: which tasks each step trains, and on which of their batches.
- `phase_heads`: the head that trains each task, by update.
- `passes`: how long a training is by default.
- `batch`: the input of one pass of the encoder, and the part of it that each head reads.
- `loaders`: the batches of a training epoch and of an evaluation, for one rank; `prefetch` prepares them ahead.
- `data_module`: `MixtureData`, the LightningDataModule that combines these; `gated_data` is the one for runs, which
  handles leakage.

Next: `mtl.encoder`, which turns a batch into hidden states.
"""

__all__ = ["batch", "batcher", "data_module", "gated_data", "loaders", "passes", "phase_heads", "schedule"]

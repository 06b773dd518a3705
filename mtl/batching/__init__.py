"""Which examples each training step trains, as pure functions of seed and position.

- `batcher`: the stream of batches of one task.
- `schedule`: which tasks, and which of their batches, each step trains.
- `batch`: what one pass of the encoder reads, and the parts that the heads read of it.
- `loaders`: the batches of a training epoch and of an evaluation, for one rank.
- `data_module`: `MixtureData`, the LightningDataModule that puts these together.

Next: `mtl.encoder`, which turns a batch into states.
"""

__all__ = ["batch", "batcher", "data_module", "loaders", "schedule"]

"""Training one mixture: the LightningModule and what surrounds it.

- `module`: `MultiTaskModule`, the shared encoder with a head per task.
- `assembly`: from a mixture to the objects that Lightning trains; here configuration ends and plain arguments begin.
- `options`: `Optimisation`, the options of training with their defaults.
- `optimisation`, `precision`, `profiling`: how weights move, in which number format, and where the time goes.
- `selection`: which evaluation on dev is the best; `early_stopping` and `saving` act on it.
- `checkpoints`: reading a checkpoint, and whether it fits a mixture.
- `train_losses`: training losses on their way to logs.
- `recorder`: what a run writes down.

Next: `mtl.study`, which trains many runs to answer a question.
"""

__all__ = [
    "assembly",
    "checkpoints",
    "early_stopping",
    "module",
    "optimisation",
    "options",
    "precision",
    "profiling",
    "recorder",
    "saving",
    "selection",
    "train_losses",
]

"""Training one mixture: the LightningModule and what surrounds it.

- `module`: `MultiTaskModule`, the shared encoder with a head per task.
- `assembly`: from a mixture to the objects that Lightning trains; here configuration ends and plain arguments begin.
- `optimisation`, `precision`, `profiling`: how weights move, in which number format, and where the time goes.
- `callbacks`, `checkpoints`: saving, early stopping, and whether a checkpoint fits a mixture.
- `recorder`: what a run writes down.

Next: `mtl.study`, which trains many runs to answer a question.
"""

__all__ = ["assembly", "callbacks", "checkpoints", "module", "optimisation", "precision", "profiling", "recorder"]

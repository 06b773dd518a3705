"""What `mtl check` finds: every problem of a mixture and its data, or the plan of its training.

- `mixture_check`: collects the problems of all parts, without training.
- `training_plan`: what would be trained, on which rows, for how long.

Next: `mtl.commands`, which prints both.
"""

DECIDES_RESULTS = False

__all__ = ["mixture_check", "training_plan"]

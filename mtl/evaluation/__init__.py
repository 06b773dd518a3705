"""From the outputs of heads to scores.

- `evaluator`: decodes each row, counts per document, gathers over ranks and scores once.
- `predictions`: files of predictions, one line per row.
- `baselines`: trivial predictors, scored from the same counts as the model.
- `units`: one unit of a split, below which a difference of scores means nothing.
- `summary`: tables and figures of results for people.

Next: `mtl.tracking`, which stores what a run records.
"""

__all__ = ["baselines", "evaluator", "predictions", "summary", "units"]

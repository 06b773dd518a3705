"""From the outputs of heads to scores.

- `evaluator`: predictions per row, counts per document, gathered over ranks, scored once.
- `predictions`: files of predictions, a line per row.
- `baselines`: trivial predictors, scored through the same counts.
- `summary`: tables and figures of results for people.

Next: `mtl.tracking`, which keeps what a run leaves.
"""

__all__ = ["baselines", "evaluator", "predictions", "summary"]

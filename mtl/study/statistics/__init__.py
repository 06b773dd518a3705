"""From the results of runs to findings. Nothing here trains, reads data, or knows where results are kept.

- `analysis`: `findings_of` collects everything that a study found.
- `significance`: tests, intervals and power for the gains over seeds.
- `resampling`: intervals over both seeds and test documents.
- `pooling`: the results of the folds of a cross-validated run as one result.
- `learning`: how runs learned: which collapsed, and which were still improving when they ended.
- `paired_systems`: two systems on the same documents, for `mtl compare`.
- `grouping`: which tasks to train together, predicted from the gains of pairs.
- `findings`: `Findings`, what a study found, as plain values.

Next: `mtl.study.report`, which presents the findings.
"""

__all__ = ["analysis", "findings", "grouping", "learning", "paired_systems", "significance"]

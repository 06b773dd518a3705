"""From the outputs of heads to scores.

- `evaluator`: decodes each row, counts per document, gathers over ranks and scores once.
- `scoring`: scores of predictions that are already there.
- `surfaces`: scores on mentions whose surface form is, or is not, that of a mention in train.
- `subgroups`: scores of groups of rows, such as those of one site, and the gaps between groups.
- `counts_files`: files of counts per document.
- `predictions`: files of predictions, one line per row.
- `intervals`: confidence intervals of the scores of one evaluation.
- `resampling_units`: what intervals resample: documents, or what several share, such as a patient.
- `baselines`: trivial predictors, scored from the same counts as the model.
- `frozen`: the trivial predictor `frozen`, a linear model on states of the encoder without fine-tuning.
- `units`: the change of a score below which a difference means nothing.
- `metric_variants`: the vocabulary of metric variants, each bound to a metric of a head.
- `strict`: strict scores of relations and attributes of predicted mentions.
- `summary`: tables and figures of results for people.

Next: `mtl.tracking`, which stores what a run records.
"""

__all__ = [
    "baselines",
    "counts_files",
    "evaluator",
    "frozen",
    "intervals",
    "metric_variants",
    "predictions",
    "resampling_units",
    "scoring",
    "strict",
    "subgroups",
    "summary",
    "surfaces",
    "units",
]

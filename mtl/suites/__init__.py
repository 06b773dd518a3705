"""Published benchmarks as data: tasks bound to splits, counts, metric variants and an aggregation rule.

- `suite_spec`: the keys of a suite file. `suite_file`: how a `Suite` is found by name and read, with all problems.
- `variants`: the vocabulary of metric variants, each bound to a metric of a head.
- `unit_counts`: what published counts count.
- `published`: published scores, each with its source and variant.
- `checking`: which data are there, and their counts against the published ones.
- `accepted`: counts that the user accepts although they differ from the published ones.
- `aggregate`: the score of a suite from those of its tasks; a suite with a missing task has none.
- `comparison`: scores of models beside published ones with the same variant.
- `suite_page`: a suite as a page of the documentation.

Next: `mtl.commands`.
"""

DECIDES_RESULTS = False

__all__ = ["accepted", "checking", "suite_file", "suite_page", "suite_spec"]

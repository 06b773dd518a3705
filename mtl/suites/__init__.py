"""Published benchmarks as data: tasks bound to splits, counts, metric variants and an aggregation rule.

- `suite_spec`: the keys of a suite file. `suite_file`: how a `Suite` is found by name and read, with all problems.
- `suite_tasks`: tasks of suites by name, for commands that take a task.
- `unit_counts`: what published counts count.
- `published`: published scores, each with its source and variant.
- `checking`: which data is available, and its counts against the published ones.
- `accepted`: counts that the user accepts although they differ from the published ones.
- `aggregate`: the score of a suite from those of its tasks; a suite with a missing task has none.
- `comparison`: scores of models next to published ones with the same variant.
- `suite_page`: a suite as a page of the documentation.
- `suite_studies`: the studies that train the models of a suite, and how they deviate from its recipe.
- `model_results`: the scores of one model, with and without test documents that overlap train, and its file.
- `suite_run`: trains the models of a suite, and gathers the results of all.
- `suite_report`: models and published scores by task. `suite_tracker`: the same in MLflow.

Next: `mtl.commands`.
"""

DECIDES_RESULTS = False

__all__ = [
    "accepted",
    "checking",
    "model_results",
    "suite_file",
    "suite_page",
    "suite_report",
    "suite_run",
    "suite_spec",
    "suite_studies",
    "suite_tasks",
    "suite_tracker",
]

"""Trains the runs of a study, locally or on a cluster, and stores their results.

- `completion`: one command from the runs to the report.
- `session`: `Session`, the work of one command: plans, finds finished runs, and trains missing ones.
- `estimate`: the cost of a study before it runs, and the smallest gains that it can detect.
- `launchers`: where runs are trained, one file per place.
- `worker`: trains the runs that no other worker has claimed, one after another.
- `train_run`: trains and scores one run; `run_costs` measures what it costs.
- `target_facts`: sizes, units and trivial predictors of the tasks.
- `ledger`: results on disk, by key, and claims on runs.
- `history`: earlier versions of the study, and what has changed since.
- `takeover`: keeps results after a code change that turns out not to affect them.
- `study_tracker`: the study in MLflow; `nested_run` sends one of its runs.
- `read_back`: results and findings from MLflow alone.

Next: `mtl.study.statistics`, which turns results into findings.
"""

__all__ = ["completion", "estimate", "read_back", "session", "study_tracker"]

"""Searching settings of a mixture and of its training, by their score on dev.

- `tuning_file`: the keys of a tuning file, and how it becomes a `Tuning`: the settings together with the mixture.
- `search_space`: the values of a searched key, and how they become overrides of `mtl fit`.
- `suggestions`: Optuna's study of the trials, in a journal next to the runs.
- `claims`: which process works on a trial.
- `training_process`: one training, which is a process `mtl fit`, and its score.
- `pruning`: the callback that reports evaluations of a training and ends it early.
- `search`: `TrialSearch`, which asks for trials, trains them and records their scores.
- `records`: the trials of a search as plain values.
- `tuning_tracker`: the search in MLflow; `tuning_report`: the search as a page, as JSON and on the terminal.

Test is never evaluated: `mtl fit` scores only dev, and nothing here reads anything but its scores.
"""

DECIDES_RESULTS = False

__all__ = ["search", "tuning_file", "tuning_report", "tuning_tracker"]

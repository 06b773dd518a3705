"""From a study file to the runs that its questions need, each with its key.

- `study_spec`: the keys of a study file. `study_file`: how a file becomes a `Study`: the settings and the mixture.
- `runs`: a run, and a comparison of two.
- `designs`: designs and controls, each a question with the runs that it compares. `pretraining`: those that train the
  encoder on another task first.
- `sizes`: the design in which a target has few training rows, and `data_variants`: other data for some runs.
- `folds`: cross-validation, in which each run is trained once for each fold.
- `stages`, `budget` and `rates`: what may differ between the stages of a design and between tasks.
- `arms`: the same tasks with other settings or another encoder, and `published_arms`: their published scores.
- `resources`: what the runs are trained on, and where.
- `missing_data`: leaves out tasks whose data is absent, if the study allows it.
- `crossing`: the corpora that the design `cross` trains on and tests on.
- `plan`: `make_plan` turns a `Study` into a `StudyPlan`. It applies the study's limits to the tasks, prepares their
  data, and rejects documents that are in training for one task and in dev or test for another.
- `run_settings`: how many updates a run makes and at which learning rates.
- `run_key`: the spec of every run with its key: a hash of the settings, the rows, the encoder and the code that decide
  its result. `study_code` finds that code.
- `description`: what makes the runs comparable, in words.
- `run_spec`: `RunSpec`, what a worker needs to train one run, and `Finished`, what the run leaves.

Next: `mtl.study.running`, which trains the runs.
"""

__all__ = [
    "description",
    "designs",
    "missing_data",
    "plan",
    "pretraining",
    "run_spec",
    "runs",
    "study_code",
    "study_file",
]

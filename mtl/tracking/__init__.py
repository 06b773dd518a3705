"""Storage of a run on disk and in MLflow.

- `run_folder`: `RunFolder`, everything that a run writes to disk.
- `checkpoint_file`: a checkpoint with its checksum; `checkpoint_folder`: the checkpoints of a run, and their names.
- `points`: the points of a run's curves that an earlier process has written.
- `rebuilding`: damaged or missing records of a run, from its other files.
- `resuming`: the checkpoint from which `--ckpt_path auto` resumes, the same for all processes.
- `live_runs`: one process at a time trains a run.
- `tracker`: `MLflowTracker`, a Lightning logger that writes to the run's folder and to MLflow.
- `mlflow_client`: the address of MLflow, and how its store is opened.
- `mlflow_run`: `MLflowRun`, everything that is sent to MLflow about one run.
- `send_queue`: `SendQueue`, which sends in order and keeps what MLflow does not have yet.
- `parent_run`: `ParentRun`, what the parent runs of studies and searches in MLflow share.
- `outages`: messages when MLflow is unreachable or refuses a request.
- `system_metrics`: load of the machine.
- `versions`: packages, commit, device and threads of a run.

Next: `mtl.training`, whose recorder uses these modules.
"""

DECIDES_RESULTS = False

__all__ = [
    "checkpoint_file",
    "checkpoint_folder",
    "live_runs",
    "mlflow_client",
    "mlflow_run",
    "outages",
    "parent_run",
    "points",
    "resuming",
    "run_folder",
    "tracker",
    "versions",
]

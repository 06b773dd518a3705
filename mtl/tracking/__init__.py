"""What a run leaves on disk and in MLflow.

- `run_folder`: `RunFolder`, everything that a run leaves on disk.
- `tracker`: `MLflowTracker`, a Lightning logger that writes to the run's folder and to MLflow.
- `mlflow_client`, `outbox`: MLflow's side: what it takes, and a queue for the times when it is unreachable.
- `versions`: packages, commit, device and threads of a run.

Next: `mtl.training`, whose recorder calls these.
"""

DECIDES_RESULTS = False

__all__ = ["mlflow_client", "outbox", "run_folder", "tracker", "versions"]

"""Training the runs of a study, wherever that is, and keeping their results."""

__all__ = ["estimate", "launchers", "ledger", "read_back", "session", "study_tracker", "train_run", "worker"]

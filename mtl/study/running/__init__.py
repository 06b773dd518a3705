"""Trains the runs of a study, locally or on a cluster, and stores their results."""

__all__ = ["estimate", "launchers", "ledger", "read_back", "session", "study_tracker", "train_run", "worker"]

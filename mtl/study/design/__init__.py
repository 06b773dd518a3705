"""The design of a study: its file, its comparisons, and the runs that they need."""

__all__ = ["designs", "plan", "run_spec", "spec", "study_code"]

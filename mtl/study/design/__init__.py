"""What a study asks: its file, its designs, and the runs that they need."""

__all__ = ["designs", "plan", "run_spec", "spec", "study_code"]

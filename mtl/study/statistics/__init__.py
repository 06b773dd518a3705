"""What the results of a study support: significance, intervals, groupings, collected in `findings`."""

__all__ = ["analysis", "findings", "grouping", "resampling", "significance"]

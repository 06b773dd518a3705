"""Statistics of a study: significance tests, intervals and groupings, collected in `findings`."""

__all__ = ["analysis", "findings", "grouping", "resampling", "significance"]

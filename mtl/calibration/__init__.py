"""Calibration: how well probabilities match observed frequencies, and how to make them match better.

- `temperature`: fits one number per task, on dev, by which logits are divided.
- `measures`: expected calibration error, Brier score, negative log-likelihood, and the bins of a reliability diagram.
- `abstention`: the risk at each coverage if the least certain predictions are withheld, and conformal sets of classes.
- `outcomes`: what these count, from decisions of a head.
- `measure_intervals`: intervals of the measures, over documents or patients.
- `task_calibration`: all of these for a task, before and after.
- `reliability_figure`: the reliability diagram.
- `saved`: the temperatures in the folder of a run, which hold for one checkpoint.

Next: `mtl.export` and `mtl.prediction`, which use the saved temperatures.
"""

DECIDES_RESULTS = False

__all__ = ["abstention", "outcomes", "reliability_figure", "saved", "task_calibration", "temperature"]

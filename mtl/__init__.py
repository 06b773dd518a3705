"""Multi-task learning for biomedical and clinical text: one shared encoder, a head per task.

With these names and Lightning's trainer, Python code can do what the command `mtl` does:

>>> from mtl import load_mixture
>>> data = {"reader": "jsonl", "path": "data/rqe"}
>>> task = {"head": "classification", "labels": ["entailed", "not_entailed"], "data": data}
>>> mixture = load_mixture({"name": "inference", "tasks": {"rqe": task}}, overrides=["batch_size=8"])
>>> mixture.batch_size_of("rqe")
8

`check_mixture` reports every problem and the plan. `build_module` and `build_data` make what the trainer fits, and
`RunFolder`, `MLflowTracker` and `RunRecorder` record the run. `predict_rows` predicts from raw text; a `Predictor` does
so any number of times. Components of your own subclass `heads.Head`, `mtl.samplers.Sampler`,
`mtl.balancing.Balancing` or `mtl.readers.Reader`. `__version__` is the version of the package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl.config.loading import load_mixture
    from mtl.config.mixture import Mixture
    from mtl.planning.mixture_check import CheckResult
    from mtl.planning.mixture_check import check as check_mixture
    from mtl.prediction.predicting import predict as predict_rows
    from mtl.prediction.predictor import Predictor
    from mtl.problems import InputError, Problem
    from mtl.tracking.run_folder import RunFolder
    from mtl.tracking.tracker import MLflowTracker
    from mtl.training.assembly import build_data
    from mtl.training.default_module import build_default_module as build_module
    from mtl.training.guard import Guard
    from mtl.training.recorder import RunRecorder

__all__ = [
    "CheckResult",
    "Guard",
    "InputError",
    "MLflowTracker",
    "Mixture",
    "Predictor",
    "Problem",
    "RunFolder",
    "RunRecorder",
    "build_data",
    "build_module",
    "check_mixture",
    "load_mixture",
    "predict_rows",
]

_HOMES = {
    "CheckResult": "mtl.planning.mixture_check:CheckResult",
    "Guard": "mtl.training.guard:Guard",
    "InputError": "mtl.problems:InputError",
    "MLflowTracker": "mtl.tracking.tracker:MLflowTracker",
    "Mixture": "mtl.config.mixture:Mixture",
    "Predictor": "mtl.prediction.predictor:Predictor",
    "Problem": "mtl.problems:Problem",
    "RunFolder": "mtl.tracking.run_folder:RunFolder",
    "RunRecorder": "mtl.training.recorder:RunRecorder",
    "build_data": "mtl.training.assembly:build_data",
    "build_module": "mtl.training.default_module:build_default_module",
    # Not `check` and `predict`: an attribute of the package with the name of a file in it is that module or the
    # function, depending on what was imported before.
    "check_mixture": "mtl.planning.mixture_check:check",
    "load_mixture": "mtl.config.loading:load_mixture",
    "predict_rows": "mtl.prediction.predicting:predict",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `mtl --help` does not wait for torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("biomtl")
    if name not in _HOMES:
        raise AttributeError(f"module 'mtl' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The module that trains a mixture, with the default learning rate of its encoder's entry in the catalogue."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from mtl.training.assembly import build_module
from mtl.training.learning_rates import entry_rate

if TYPE_CHECKING:
    from mtl.config.mixture import Mixture
    from mtl.training.module import MultiTaskModule

DECIDES_RESULTS = False  # a run records its learning rate


@functools.wraps(build_module)
def build_default_module(mixture: Mixture, **options: Any) -> MultiTaskModule:  # noqa: D103  # wraps gives it one
    default = entry_rate(mixture.encoder.name)
    if default is not None and options.get("learning_rate") is None:
        options["learning_rate"] = default.learning_rate
    return build_module(mixture, **options)

"""The values of a searched key, and how they become overrides of `mtl fit`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

FIT_SECTIONS = ("model", "trainer", "early_stopping", "guard")
"""Sections of `mtl fit` that are not part of the mixture."""

_PLAIN = re.compile(r"(\d+-)?[A-Za-z][\w./-]*")
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"})


@dataclass(frozen=True)
class Choices:
    """A list of values. Optuna stores them as JSON, so that lists and mappings may be values too, and 1 is not `true`.

    Args:
        values: The values, as in the file.
    """

    values: tuple[Any, ...]

    @property
    def examples(self) -> tuple[Any, ...]:
        """The values to check before anything trains: all of them."""
        return self.values

    @property
    def size(self) -> float:
        """Number of values."""
        return len(self.values)

    @property
    def written(self) -> list[str]:
        """The values as Optuna stores them."""
        return [json.dumps(value, sort_keys=True) for value in self.values]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.written)

    def suggest(self, trial: Trial, key: str) -> Any:
        """Returns the value of a trial, which draws it if it has none."""
        return self.value(trial.suggest_categorical(key, self.written))

    def value(self, stored: Any) -> Any:
        """Returns the value that Optuna stores as this.

        >>> Choices(("cls", None)).value('"cls"')
        'cls'
        """
        return json.loads(stored)


@dataclass(frozen=True)
class NumberRange:
    """All numbers between two bounds; only integers if the bounds and the step are integers.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Whether the logarithm of the value is drawn, instead of the value.
        step: Distance between two values; None allows all.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_integer(self) -> bool:
        """Whether only integers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, int | None)

    @property
    def examples(self) -> tuple[Any, ...]:
        """The values to check before anything trains: the bounds."""
        return (self.low, self.high)

    @property
    def size(self) -> float:
        """Number of values, infinite for real numbers.

        >>> NumberRange(2, 5).size, NumberRange(0.0, 1.0).size
        (4, inf)
        """
        if self.is_integer:
            return int(self.high - self.low) // int(self.step or 1) + 1
        return math.inf if self.step is None else int((self.high - self.low) / self.step + 1e-9) + 1

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def suggest(self, trial: Trial, key: str) -> Any:
        """Returns the value of a trial, which draws it if it has none."""
        if self.is_integer:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(key, float(self.low), float(self.high), log=self.log, step=self.step)

    def value(self, stored: Any) -> Any:
        """Returns the value that Optuna stores as this."""
        return stored


Values = Choices | NumberRange
SearchSpace = Mapping[str, Values]


def num_combinations(space: SearchSpace) -> float:
    """Number of combinations of the values of all keys; infinite if a key may have any real number.

    >>> num_combinations({"a": Choices((1, 2, 3)), "b": Choices(("x", "y"))})
    6
    """
    return math.prod(values.size for values in space.values())


def is_of_fit(key: str) -> bool:
    """Whether a key belongs to an option of `mtl fit`; other keys belong to the mixture."""
    return key.partition(".")[0] in FIT_SECTIONS


def written_value(value: Any) -> str:
    """A value as the command line takes it: plain words as they are, everything else as JSON, which is YAML.

    >>> [written_value(value) for value in ("cls", "32-true", "no", 1e-05, None, ["a", 1])]
    ['cls', '32-true', '"no"', '1e-05', 'null', '["a", 1]']
    """
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
    return str(value) if is_plain else json.dumps(value, ensure_ascii=False)


def mixture_overrides(values: Mapping[str, Any]) -> list[str]:
    """The overrides of the mixture among the values of a trial, for `load_mixture`."""
    return [f"{key}={written_value(value)}" for key, value in values.items() if not is_of_fit(key)]


def fit_overrides(values: Mapping[str, Any]) -> list[str]:
    """The values of a trial as arguments of `mtl fit`.

    >>> fit_overrides({"model.learning_rate": 0.0002, "tasks.gad.rate": 2})
    ['--model.learning_rate=0.0002', '--mixture.tasks.gad.rate=2']
    """
    return [f"--{'' if is_of_fit(key) else 'mixture.'}{key}={written_value(value)}" for key, value in values.items()]


def fit_sections(fixed: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of `mtl fit` with the values of a trial.

    Args:
        fixed: The sections as in the file.
        values: Values by dotted key; those of the mixture are ignored.

    >>> fit_sections({"trainer": {"max_epochs": 1}}, {"model.learning_rate": 0.1, "seed": 1})
    {'trainer': {'max_epochs': 1}, 'model': {'learning_rate': 0.1}}
    """
    sections = {name: dict(section) for name, section in fixed.items()}
    for key, value in values.items():
        if is_of_fit(key):
            section, _, option = key.partition(".")
            sections.setdefault(section, {})[option] = value
    return sections

"""Other data for some tasks in some runs of a study, such as fewer training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from heads import Head
from mtl.config.mixture import DataSpec, LimitSpec, Mixture
from mtl.data.examples import TaskData, prepare
from mtl.problems import InputError, Problem
from mtl.study.design.sizes import ALL, SIZES, sizes_of, variant

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class DataVariant(NamedTuple):
    """The data that some tasks of a run have instead of that of the mixture.

    Args:
        specs: What is read, by task.
        data: The same data, prepared.
    """

    specs: Mapping[str, DataSpec]
    data: Mapping[str, TaskData]

    def applied(self, mixture: Mixture) -> Mixture:
        """The mixture with this data."""
        tasks = {
            name: spec.model_copy(update={"data": self.specs[name]}) if name in self.specs else spec
            for name, spec in mixture.tasks.items()
        }
        return mixture.model_copy(update={"tasks": tasks})


class Variants(NamedTuple):
    """The variants of a study.

    Args:
        parts: Designs and controls with their options, where the sizes of `sizes` are those that differ.
        found: The variants by name.
    """

    parts: list[tuple[str, Any]]
    found: dict[str, DataVariant]


def prepared_variants(
    parts: Sequence[tuple[str, Any]],
    mixture: Mixture,
    heads: Mapping[str, Head],
    tokenizer: PreTrainedTokenizerBase,
    data: Mapping[str, TaskData],
    seed: int,
) -> Variants:
    """Prepares the data of all variants.

    A size that is not below the number of rows of its target becomes `ALL`. Of several sizes that give the same rows,
    because documents are never divided, the smallest is kept.

    Args:
        parts: Designs and controls with their options.
        mixture: The tasks of the study, with its limits.
        heads: Head of each task.
        tokenizer: The encoder's tokenizer, with the special tokens of the heads.
        data: Prepared data of the mixture.
        seed: Seed of the draw of rows, for tasks without a limit of their own.

    Raises:
        InputError: A size is below the number of rows of the smallest document, or has no labelled row.
    """
    found: dict[str, DataVariant] = {}
    problems: list[Problem] = []
    resolved = []
    for name, options in parts:
        if name != SIZES:
            resolved.append((name, options))
            continue
        kept: dict[str, list[Any]] = {}
        for target, sizes in sizes_of(list(mixture.tasks), options).items():
            num_rows = data[target]["train"].row_summary.rows
            numbers = sorted(size for size in sizes if size != ALL and size < num_rows)
            met: set[str] = set()
            kept[target] = []
            for size in numbers:
                try:
                    made = _limited(mixture, target, size, heads, tokenizer, seed)
                except InputError as error:
                    problems += [_placed(problem, target, size) for problem in error.problems]
                    continue
                fingerprint = made.data[target]["train"].row_summary.fingerprint
                if fingerprint not in met:
                    met.add(fingerprint)
                    kept[target].append(size)
                    found[variant(target, size)] = made
            if len(numbers) < len(sizes):
                kept[target].append(ALL)
        resolved.append((name, {**options, "rows": kept}))
    if problems:
        raise InputError(problems)
    return Variants(resolved, found)


def _limited(
    mixture: Mixture,
    target: str,
    size: int,
    heads: Mapping[str, Head],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> DataVariant:
    """A target with at most so many training rows: whole documents, the first of one seeded order."""
    spec = mixture.tasks[target].data
    limit = (spec.limit or LimitSpec(train=size, seed=seed)).model_copy(update={"train": size})
    made = DataVariant({target: spec.model_copy(update={"limit": limit})}, {})
    return made._replace(data=prepare(made.applied(mixture).only([target]), heads, tokenizer))


def _placed(problem: Problem, target: str, size: int) -> Problem:
    return Problem(f"designs.{SIZES}.rows", f"{size} rows of '{target}': {problem.message}", problem.suggestion)

"""Other data for some tasks in some runs of a study, such as fewer training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
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


def whole_variant(mixture: Mixture, data: Mapping[str, TaskData]) -> DataVariant:
    """The data of all tasks of a mixture, such as that of a fold."""
    return DataVariant({name: spec.data for name, spec in mixture.tasks.items()}, data)


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
    data: Mapping[str, TaskData],
    *,
    heads: Mapping[str, Head],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> Variants:
    """Prepares the data of all variants.

    A size that is not below the number of rows of its target becomes `ALL`. Of several sizes that give the same rows,
    because documents are never divided, the smallest is kept.

    Args:
        parts: Designs and controls with their options.
        mixture: The tasks of the study, with its limits.
        data: Prepared data of the mixture.
        heads: Head of each task.
        tokenizer: The encoder's tokenizer, with the special tokens of the heads.
        seed: Seed of the draw of rows, for tasks without a limit of their own.

    Raises:
        InputError: A size is below the number of rows of the smallest document, or has no labelled row.
    """
    options = next((options for name, options in parts if name == SIZES), None)
    if options is None:
        return Variants(list(parts), {})
    found: dict[str, DataVariant] = {}
    rows: dict[str, list[Any]] = {}
    problems: list[Problem] = []
    make = partial(_limited, mixture, heads=heads, tokenizer=tokenizer, seed=seed)
    for target, sizes in sizes_of(list(mixture.tasks), options).items():
        below = [size for size in sizes if size != ALL and size < data[target]["train"].row_summary.rows]
        try:
            made = {size: make(target, size) for size in sorted(below)}
        except InputError as error:
            problems += error.problems
            continue
        different = _different(made, target)
        found |= {variant(target, size): one for size, one in different.items()}
        rows[target] = [*different, *([ALL] if len(below) < len(sizes) else [])]
    if problems:
        raise InputError(problems)
    resolved = [(name, {**options, "rows": rows} if name == SIZES else own) for name, own in parts]
    return Variants(resolved, found)


def _different(made: Mapping[int, DataVariant], target: str) -> dict[int, DataVariant]:
    """The first of the variants with the same rows, by size."""
    sizes: dict[str, int] = {}
    for size, one in made.items():
        sizes.setdefault(one.data[target]["train"].row_summary.fingerprint, size)
    return {size: made[size] for size in sizes.values()}


def _limited(
    mixture: Mixture,
    target: str,
    size: int,
    *,
    heads: Mapping[str, Head],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> DataVariant:
    """A target with at most a given number of training rows: whole documents, the first of one seeded order."""
    spec = mixture.tasks[target].data
    limit = (spec.limit or LimitSpec(train=size, seed=seed)).model_copy(update={"train": size})
    made = DataVariant({target: spec.model_copy(update={"limit": limit})}, {})
    try:
        return made._replace(data=prepare(made.applied(mixture).only([target]), heads, tokenizer))
    except InputError as error:
        key, place = f"designs.{SIZES}.rows", f"{size} rows of '{target}'"
        raise InputError([Problem(key, f"{place}: {one.message}", one.suggestion) for one in error.problems]) from None

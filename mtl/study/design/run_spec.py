"""The spec and the result of one run of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple


@dataclass(frozen=True)
class RunSpec:
    """Everything that a worker needs to train a run, as JSON types.

    Args:
        key: Hash of everything that decides the result.
        configuration: Hash of everything except code that decides the result.
        name: Display name.
        trains: What the run trains, regardless of the seed.
        tasks: Names of the tasks that are trained together.
        targets: Names of the tasks that are scored, which excludes copies of tasks.
        seed: Seed for all random draws.
        designs: Names of the designs and controls that need the run.
        mixture: The resolved mixture, with the seed; the quota of its sampler is the number of updates per evaluation.
        evaluations: Number of dev evaluations; each ends an epoch.
        select: `best` or `last`.
        model: Arguments of `build_module`.
        trainer: Threads, accelerator, precision and gradient_clip_val.
        known_tokens: Special tokens that the encoder of the source already has.
        source: Key of the run whose encoder this run starts from.
        keeps_heads: Whether the run also starts from the heads of the source.
        keeps_encoder: Whether other runs start from this run.
        evaluates: Whether the run only tests its source, on test of its target. The only task of its mixture is then
            that of the source, with the data of the target.
    """

    key: str
    configuration: str
    name: str
    trains: str
    tasks: tuple[str, ...]
    targets: tuple[str, ...]
    seed: int
    designs: tuple[str, ...]
    mixture: dict[str, Any]
    evaluations: int
    select: str
    model: dict[str, Any]
    trainer: dict[str, Any]
    known_tokens: tuple[str, ...] = ()
    source: str | None = None
    keeps_heads: bool = False
    keeps_encoder: bool = False
    evaluates: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns the spec as JSON types."""
        return asdict(self)

    def labels(self) -> dict[str, Any]:
        """Returns the fields that a result stores about its run."""
        names = ("key", "name", "trains", "tasks", "targets", "seed", "designs")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunSpec:
        """Returns the spec that `to_dict` wrote."""
        tuples = {name: tuple(content[name]) for name in ("tasks", "targets", "designs", "known_tokens")}
        return cls(**{**{field.name: content[field.name] for field in fields(cls)}, **tuples})


class Finished(NamedTuple):
    """The result of a run, and its counts by target."""

    result: dict[str, Any]
    counts: dict[str, dict[str, Any]]

"""One run of a study: what it needs to know, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple


@dataclass(frozen=True)
class RunSpec:
    """Everything that a run needs to know, as JSON types.

    Args:
        key: A hash of all that decides its result.
        configuration: A hash of all that decides its result apart from code.
        name: For people.
        company: What it trains, without the seed.
        tasks: Trained together.
        targets: Those that are scored: without copies that only stand beside a target.
        seed: Of everything that is drawn.
        designs: Which need it.
        mixture: Resolved, with the seed and the own updates of an evaluation as its sampler's quota.
        evaluations: On dev; each ends an epoch.
        select: `best` or `last`.
        model: Arguments of `build_module`.
        trainer: Threads, accelerator, precision, gradient_clip_val.
        known_tokens: That the source's encoder has.
        source: Key of the run whose encoder this one starts from.
        keeps_heads: Whether it starts from the source's heads, too.
        keeps_encoder: Whether later runs start from this one.
    """

    key: str
    configuration: str
    name: str
    company: str
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def labels(self) -> dict[str, Any]:
        """What a result says about its run."""
        names = ("key", "name", "company", "tasks", "targets", "seed", "designs")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunSpec:
        """The order that `to_dict` wrote."""
        tuples = {name: tuple(content[name]) for name in ("tasks", "targets", "designs", "known_tokens")}
        return cls(**{**{field.name: content[field.name] for field in fields(cls)}, **tuples})


class Finished(NamedTuple):
    """A run's result and its counts by target."""

    result: dict[str, Any]
    counts: dict[str, dict[str, Any]]

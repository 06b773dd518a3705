"""Takes over the results of finished runs after a code change that does not affect results.

A few runs are trained again. If their results are bit-identical, the others count under their new keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mtl.study.design.designs import original
from mtl.study.design.run_spec import Finished, RunSpec
from mtl.study.running.history import Earlier, counted
from mtl.study.running.ledger import Ledger

COMPARED = ("curve", "selected", "primary", "dev", "test")
"""The parts of a result that must be identical, besides its counts."""

LISTED = 3
"""Maximum number of differing values of a run that are listed."""


class Takeover:
    """The runs of a study whose results with earlier code may be taken over.

    Args:
        orders: Specs of the runs of the plan.
        earlier: Finished run with earlier code, by key of the current run.
        ledger: Ledger with the results.
        fetch: Downloads the result of a key from MLflow if the ledger does not have it; returns False on failure.
        say: Shows a message to the user.
    """

    def __init__(
        self,
        orders: Sequence[RunSpec],
        earlier: Mapping[str, Earlier],
        ledger: Ledger,
        *,
        fetch: Callable[[str], bool],
        say: Callable[[str], None],
    ) -> None:
        self._orders, self._earlier, self._ledger, self._fetch, self._say = orders, earlier, ledger, fetch, say

    def possible(self) -> int:
        """Returns how many runs may be taken over; 0 if a run is known to differ with the current code."""
        differs = any(any(self._differences(order)) for order in self._trained_twice())
        return 0 if differs else len(self._open())

    def run(self, number: int, train: Callable[[Sequence[RunSpec]], None]) -> None:
        """Trains some runs again, and takes over the others if the results are identical.

        Runs that an earlier command trained again also count.

        Args:
            number: Maximum number of runs to train.
            train: Trains the given runs of the plan.
        """
        self._earlier = {key: old for key, old in self._earlier.items() if self._fetch(old.key)}
        twice, candidates = self._trained_twice(), self._open()
        if not candidates:
            self._say("No finished run differs from a missing run only in code; nothing is taken over.")
            return
        if not self._are_identical(twice):
            return
        covered = self._needs(twice)
        is_covered = all(self._earlier[order.key].needs <= covered for order in candidates)
        room = max(0, number - len(twice)) if is_covered else number
        again = self._choose(candidates, room, covered)
        if again:
            names = ", ".join(f"'{order.name}'" for order in again)
            total = counted(len(candidates), "run")
            self._say(f"Training {len(again)} of {total} with earlier code again: {names}.")
            train(again)
        failed = [order.name for order in again if not self._ledger.is_finished(order.key)]
        if failed:
            self._say(f"'{failed[0]}' failed, so nothing is taken over.")
            return
        verified = [*twice, *(order for order in again if order.key in self._earlier)]
        if not verified:
            self._say(
                f"--verify-old {number} is too small: every run starts from another run that must also be trained."
            )
            return
        if self._are_identical(verified):
            keys = {order.key for order in again}
            self._take([order for order in candidates if order.key not in keys], verified)

    # --- what there is --------------------------------------------------------------------------------------------

    def _open(self) -> list[RunSpec]:
        """The runs that have a result only with earlier code."""
        return [o for o in self._orders if o.key in self._earlier and not self._ledger.is_finished(o.key)]

    def _trained_twice(self) -> list[RunSpec]:
        """The runs that were trained both with earlier code and with the current code."""
        found = []
        for order in self._orders:
            old, result = self._earlier.get(order.key), self._ledger.result(order.key)
            before = None if old is None else self._ledger.result(old.key)
            if result is None or before is None or "taken_over" in result:
                continue
            if order.key not in before.get("taken_over", {}).get(
                "earlier", ()
            ):  # otherwise it would be compared with itself
                found.append(order)
        return found

    def _are_identical(self, orders: Sequence[RunSpec]) -> bool:
        for order in orders:
            found = list(self._differences(order))
            if found:
                more = f", and {len(found) - LISTED} more" if len(found) > LISTED else ""
                self._say(
                    f"'{order.name}' gives a different result with the current code: {', '.join(found[:LISTED])}{more}."
                    " Nothing is taken over."
                )
                return False
        return True

    def _differences(self, order: RunSpec) -> Iterator[str]:
        return differences(self._finished(self._earlier[order.key].key), self._finished(order.key))

    def _finished(self, key: str) -> Finished:
        result = self._ledger.result(key)
        assert result is not None, key
        return Finished(result, self._ledger.counts(key))

    # --- choosing -------------------------------------------------------------------------------------------------

    def _choose(self, candidates: Sequence[RunSpec], room: int, covered: frozenset[tuple[int, str]]) -> list[RunSpec]:
        """Up to `room` runs, including the sources that must be trained: those with the best coverage per trained run.

        Coverage of changed code comes first, then tasks, designs and seeds, then the order of the plan.
        """
        chosen: dict[str, RunSpec] = {}
        seen: frozenset[tuple[str, Any]] = frozenset()

        def new(chain: Sequence[RunSpec]) -> tuple[float, float]:
            return len(self._needs(chain) - covered) / len(chain), len(_features(chain) - seen) / len(chain)

        while True:
            chains = [self._chain(order, chosen) for order in candidates if order.key not in chosen]
            chains = [chain for chain in chains if len(chain) <= room - len(chosen)]
            if not chains:
                return list(chosen.values())
            best = max(chains, key=new)
            chosen |= {order.key: order for order in best}
            covered |= self._needs(best)
            seen |= _features(best)

    def _chain(self, order: RunSpec, chosen: Mapping[str, RunSpec]) -> list[RunSpec]:
        """A run, preceded by the sources that must be trained for it."""
        source = next((other for other in self._orders if other.key == order.source), None)
        if source is None or source.key in chosen or self._ledger.is_finished(source.key):
            return [order]
        return [*self._chain(source, chosen), order]

    def _needs(self, orders: Sequence[RunSpec]) -> frozenset[tuple[int, str]]:
        needs = (self._earlier[order.key].needs for order in orders if order.key in self._earlier)
        return frozenset[tuple[int, str]]().union(*needs)

    # --- taking over ----------------------------------------------------------------------------------------------

    def _take(self, orders: Sequence[RunSpec], verified: Sequence[RunSpec]) -> None:
        covered = self._needs(verified)
        sure = [order for order in orders if self._earlier[order.key].needs <= covered]
        taken = sum(self._take_one(order, verified) for order in sure)
        again, others = counted(len(verified), "run"), counted(taken, "other run")
        self._say(f"{again} trained again with identical results; {others} taken over.")
        if len(sure) < len(orders):
            lacking = {what for order in orders for _, what in self._earlier[order.key].needs - covered}
            self._say(
                f"{counted(len(orders) - len(sure), 'run')} not taken over: no run that was trained again used"
                f" {', '.join(sorted(lacking))}, which changed. Use a larger --verify-old to train one."
            )

    def _take_one(self, order: RunSpec, verified: Sequence[RunSpec]) -> bool:
        """Takes over one run; False if another command is training the run or has trained it."""
        claim = self._ledger.claim(order.key)
        if claim is None:
            return False
        with claim:
            if self._ledger.is_finished(order.key):
                return False
            labels = {**order.labels(), "taken_over": self._note(order, verified)}
            self._ledger.take_over(self._earlier[order.key].key, order.key, labels)
        return True

    def _note(self, order: RunSpec, verified: Sequence[RunSpec]) -> dict[str, Any]:
        """How a run was taken over; `earlier` lists all earlier keys of this result and of the verified results."""
        old = self._earlier[order.key]
        keys = [old.key, *(self._earlier[other.key].key for other in verified)]
        notes = [(self._ledger.result(key) or {}).get("taken_over", {}) for key in keys]
        return {
            "from": old.key,
            "verified": [other.key for other in verified],
            "earlier": sorted({*keys, *(key for note in notes for key in note.get("earlier", ()))}),
            "changed": list(dict.fromkeys([*notes[0].get("changed", ()), *old.changed])),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def differences(before: Finished, now: Finished) -> Iterator[str]:
    """Yields the values in which two results of a run differ: curves, scores and counts, compared bit by bit."""
    old, new = (dict(_values({part: one.result[part] for part in COMPARED}, "")) for one in (before, now))
    for name in dict.fromkeys([*old, *new]):
        if name not in old or name not in new:
            yield f"{name} ({'new' if name in new else 'gone'})"
        elif old[name] != new[name]:
            yield f"{name} {old[name]} -> {new[name]}"
    for target in dict.fromkeys([*before.counts, *now.counts]):
        one, other = before.counts.get(target, {}), now.counts.get(target, {})
        for name in dict.fromkeys([*one, *other]):
            if name not in one or name not in other or not _is_same_array(one[name], other[name]):
                yield f"{name} of {target}"


def _is_same_array(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


def _values(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaf values of JSON content, with dotted names."""
    if isinstance(value, Mapping | list):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value, 1)
        for key, part in parts:
            yield from _values(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _features(orders: Sequence[RunSpec]) -> frozenset[tuple[str, Any]]:
    return frozenset(
        feature
        for order in orders
        for feature in (
            ("seed", order.seed),
            *(("task", original(task)) for task in order.tasks),
            *(("design", design) for design in order.designs),
        )
    )

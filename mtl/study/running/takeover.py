"""Takes over the results of finished runs after a code change that does not affect results.

A few runs are trained again. If their results are bit-identical, the others count under their new keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mtl.messages import counted
from mtl.study.design.run_spec import Finished, RunSpec
from mtl.study.design.runs import original
from mtl.study.running.history import Earlier
from mtl.study.running.ledger import Ledger, shared_documents

COMPARED = ("curve", "selected", "primary", "dev", "test")
"""The parts of a result that must be identical, besides its counts."""

LISTED = 3
"""Maximum number of differing values of a run that are listed."""


class Takeover:
    """The runs of a study whose results with earlier code may be taken over.

    Args:
        run_specs: Specs of the runs of the plan.
        earlier: Finished run with earlier code, by key of the current run.
        ledger: Ledger with the results.
        fetch: Downloads the result of a key from MLflow if the ledger does not have it; returns False on failure.
        say: Shows a message to the user.
    """

    def __init__(
        self,
        run_specs: Sequence[RunSpec],
        earlier: Mapping[str, Earlier],
        ledger: Ledger,
        *,
        fetch: Callable[[str], bool],
        say: Callable[[str], None],
    ) -> None:
        self._run_specs, self._earlier, self._ledger, self._fetch, self._say = run_specs, earlier, ledger, fetch, say

    def possible(self) -> int:
        """Returns how many runs may be taken over; 0 if a run is known to differ with the current code."""
        differs = any(any(self._differences(run_spec)) for run_spec in self._trained_twice())
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
        is_covered = all(self._earlier[run_spec.key].needs <= covered for run_spec in candidates)
        room = max(0, number - len(twice)) if is_covered else number
        again = self._choose(candidates, room, covered)
        if again:
            names = ", ".join(f"'{run_spec.name}'" for run_spec in again)
            total = counted(len(candidates), "run")
            self._say(f"Training {len(again)} of {total} with earlier code again: {names}.")
            train(again)
        failed = [run_spec.name for run_spec in again if not self._ledger.is_finished(run_spec.key)]
        if failed:
            self._say(f"'{failed[0]}' failed, so nothing is taken over.")
            return
        verified = [*twice, *(run_spec for run_spec in again if run_spec.key in self._earlier)]
        if not verified:
            self._say(
                f"--verify-old {number} is too small: every run starts from another run that must also be trained."
            )
            return
        if self._are_identical(verified):
            keys = {run_spec.key for run_spec in again}
            self._take([run_spec for run_spec in candidates if run_spec.key not in keys], verified)

    # --- what there is --------------------------------------------------------------------------------------------

    def _open(self) -> list[RunSpec]:
        """The runs that have a result only with earlier code."""
        return [o for o in self._run_specs if o.key in self._earlier and not self._ledger.is_finished(o.key)]

    def _trained_twice(self) -> list[RunSpec]:
        """The runs that were trained both with earlier code and with the current code."""
        found = []
        for run_spec in self._run_specs:
            old, result = self._earlier.get(run_spec.key), self._ledger.result(run_spec.key)
            before = None if old is None else self._ledger.result(old.key)
            if result is None or before is None or "taken_over" in result:
                continue
            if run_spec.key not in before.get("taken_over", {}).get(
                "earlier", ()
            ):  # otherwise it would be compared with itself
                found.append(run_spec)
        return found

    def _are_identical(self, run_specs: Sequence[RunSpec]) -> bool:
        for run_spec in run_specs:
            found = list(self._differences(run_spec))
            if found:
                more = f", and {len(found) - LISTED} more" if len(found) > LISTED else ""
                self._say(
                    f"'{run_spec.name}' gives a different result with the current code:"
                    f" {', '.join(found[:LISTED])}{more}. Nothing is taken over."
                )
                return False
        return True

    def _differences(self, run_spec: RunSpec) -> Iterator[str]:
        return differing_values(self._finished(self._earlier[run_spec.key].key), self._finished(run_spec.key))

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
            chains = [self._chain(run_spec, chosen) for run_spec in candidates if run_spec.key not in chosen]
            chains = [chain for chain in chains if len(chain) <= room - len(chosen)]
            if not chains:
                return list(chosen.values())
            best = max(chains, key=new)
            chosen |= {run_spec.key: run_spec for run_spec in best}
            covered |= self._needs(best)
            seen |= _features(best)

    def _chain(self, run_spec: RunSpec, chosen: Mapping[str, RunSpec]) -> list[RunSpec]:
        """A run, preceded by the sources that must be trained for it."""
        source = next((other for other in self._run_specs if other.key == run_spec.source), None)
        if source is None or source.key in chosen or self._ledger.is_finished(source.key):
            return [run_spec]
        return [*self._chain(source, chosen), run_spec]

    def _needs(self, run_specs: Sequence[RunSpec]) -> frozenset[tuple[int, str]]:
        needs = (self._earlier[run_spec.key].needs for run_spec in run_specs if run_spec.key in self._earlier)
        return frozenset[tuple[int, str]]().union(*needs)

    # --- taking over ----------------------------------------------------------------------------------------------

    def _take(self, run_specs: Sequence[RunSpec], verified: Sequence[RunSpec]) -> None:
        covered = self._needs(verified)
        sure = [run_spec for run_spec in run_specs if self._earlier[run_spec.key].needs <= covered]
        taken = sum(self._take_one(run_spec, verified) for run_spec in sure)
        again, others = counted(len(verified), "run"), counted(taken, "other run")
        self._say(f"{again} trained again with identical results; {others} taken over.")
        if len(sure) < len(run_specs):
            lacking = {what for run_spec in run_specs for _, what in self._earlier[run_spec.key].needs - covered}
            self._say(
                f"{counted(len(run_specs) - len(sure), 'run')} not taken over: no run that was trained again used"
                f" {', '.join(sorted(lacking))}, which changed. Use a larger --verify-old to train one."
            )

    def _take_one(self, run_spec: RunSpec, verified: Sequence[RunSpec]) -> bool:
        """Takes over one run; False if another command is training the run or has trained it."""
        claim = self._ledger.claim(run_spec.key)
        if claim is None:
            return False
        with claim:
            if self._ledger.is_finished(run_spec.key):
                return False
            labels = {**run_spec.labels(), "taken_over": self._note(run_spec, verified)}
            self._ledger.take_over(self._earlier[run_spec.key].key, run_spec.key, labels)
        return True

    def _note(self, run_spec: RunSpec, verified: Sequence[RunSpec]) -> dict[str, Any]:
        """How a run was taken over; `earlier` lists all earlier keys of this result and of the verified results."""
        old = self._earlier[run_spec.key]
        keys = [old.key, *(self._earlier[other.key].key for other in verified)]
        notes = [(self._ledger.result(key) or {}).get("taken_over", {}) for key in keys]
        return {
            "from": old.key,
            "verified": [other.key for other in verified],
            "earlier": sorted({*keys, *(key for note in notes for key in note.get("earlier", ()))}),
            "changed": list(dict.fromkeys([*notes[0].get("changed", ()), *old.changed])),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def differing_values(before: Finished, now: Finished) -> Iterator[str]:
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
            if name not in one or name not in other or not _is_same_array(name, one[name], other[name]):
                yield f"{name} of {target}"


def _is_same_array(name: str, one: Any, other: Any) -> bool:
    if name == "documents":  # results from MLflow may have their ids hashed
        one, other = shared_documents(one), shared_documents(other)
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


def _values(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaf values of JSON content, with dotted names."""
    if isinstance(value, Mapping | list):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value, 1)
        for key, part in parts:
            yield from _values(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _features(run_specs: Sequence[RunSpec]) -> frozenset[tuple[str, Any]]:
    return frozenset(
        feature
        for run_spec in run_specs
        for feature in (
            ("seed", run_spec.seed),
            *(("task", original(task)) for task in run_spec.tasks),
            *(("design", design) for design in run_spec.designs),
        )
    )

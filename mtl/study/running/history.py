"""Earlier versions of a study, and what has changed since: settings, and code by definition."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mtl.code_identity import changed_definitions
from mtl.encoder.location import encoder_identity
from mtl.files import read_json, write_json
from mtl.messages import counted
from mtl.study.design.plan import StudyPlan
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import original
from mtl.study.design.study_code import EVALUATING, PERMUTING, TRAINING

LISTED = 12
"""Maximum number of changed settings, and of changed definitions, that are listed."""

SOURCE = "a source"
"""What runs that start from another run need besides groups of code."""

Entry = dict[str, Any]
"""One version of the study, as JSON types: its settings, its code, the keys of its runs, and its seeds."""


class Earlier(NamedTuple):
    """A finished run of an earlier command that differs from a run of the plan only in code.

    Args:
        key: Key of the earlier run.
        changed: Descriptions of what has changed since.
        needs: The changed code that the run uses. If a run is trained again with an identical result, this verifies
            all runs that need no other changed code.
    """

    key: str
    changed: tuple[str, ...]
    needs: frozenset[tuple[int, str]]


class History:
    """The versions of a study: one entry for each change of its settings or its code.

    Args:
        plan: The current plan of the study.
        file: JSON file with the entries.
        is_finished: Whether the run with a key has a result, on disk or in MLflow.
        taken_over: Returns notes on the runs of the plan that were taken over, by key.
    """

    def __init__(
        self,
        plan: StudyPlan,
        file: Path,
        is_finished: Callable[[str], bool],
        taken_over: Callable[[], Mapping[str, Mapping[str, Any]]],
    ) -> None:
        self._plan, self._file = plan, file
        self._is_finished, self._taken_over = is_finished, taken_over

    @property
    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        entries: list[Entry] = read_json(self._file).get("identities", [])
        return entries

    def restore(self, entries: Sequence[Entry]) -> None:
        """Writes entries that were recorded on another machine."""
        write_json(self._file, {"identities": list(entries)})

    def note(self) -> None:
        """Writes an entry for the current study after the entries of earlier versions."""
        same = [entry for entry in self.entries if _what(entry) == _what(self._now)]
        runs = {key: run for entry in (*same, self._now) for key, run in entry["runs"].items()}
        self.restore([*self._others, {**self._now, "runs": runs, "seeds": self._seeds()}])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings that decide results, with the names that users know."""
        run_spec, mixture, spec = self._plan.run_specs[0], self._plan.study.mixture, self._plan.study.spec
        fields = mixture.to_dict()
        return {
            "tasks": {name: {k: v for k, v in task.items() if k != "data"} for name, task in fields["tasks"].items()},
            "data": {
                name: {split: content.row_summary.fingerprint[:12] for split, content in splits.items()}
                for name, splits in self._plan.data.items()
            },
            "encoder": {**fields["encoder"], "weights": encoder_identity(mixture.encoder)[:12]},
            "batch_size": fields["batch_size"],
            "tokens_per_batch": fields["tokens_per_batch"],
            "balancing": fields["balancing"],
            "budget": spec.budget.to_dict(),
            "select": spec.select,
            "model": spec.model.to_dict(),
            "trainer": run_spec.trainer,
            **({"arms": spec.arms} if spec.arms else {}),
        }

    # --- what changed ---------------------------------------------------------------------------------------------

    def changes(self) -> list[str]:
        """Returns one sentence for each earlier version: what has changed since, and how many runs no longer count."""
        known = self._known()
        return [sentence for entry in self._others if (sentence := self._change_since(entry, known))]

    def changed(self) -> list[str]:
        """Returns the changes themselves, without duplicates."""
        known = self._known()
        lists = (changes_between(entry, self._now) for entry in self._others if self._uncounted(entry, known))
        return list(dict.fromkeys(change for changes in lists for change in changes))

    def _change_since(self, entry: Entry, known: Collection[str]) -> str:
        old, changed = self._uncounted(entry, known), changes_between(entry, self._now)
        if not old or not changed:  # removing tasks, seeds or designs changes no run
            return ""
        runs = counted(len(old), "finished run")
        return (
            f"Changed since earlier runs: {'; '.join(changed)}. The results of {runs} from before the change are kept"
            " but not used."
        )

    def _uncounted(self, entry: Entry, known: Collection[str]) -> list[str]:
        return [key for key in entry["runs"].values() if key not in known and self._is_finished(key)]

    def _known(self) -> set[str]:
        """The keys of the plan, and earlier keys with the same results."""
        same = (note["earlier"] for note in self._taken_over().values())
        return {run_spec.key for run_spec in self._plan.run_specs}.union(*same)

    def takeovers(self) -> list[str]:
        """Returns one sentence for each code change: how many runs were taken over."""
        found: dict[tuple[tuple[str, ...], int], int] = {}
        for note in self._taken_over().values():
            what = tuple(note["changed"]), len(note["verified"])
            found[what] = found.get(what, 0) + 1
        return [
            f"{counted(number, 'run')} taken over from earlier code (changed since: {'; '.join(changed)}),"
            f" because {counted(verified, 'run')} trained again with the new code gave bit-identical results."
            for (changed, verified), number in found.items()
        ]

    def earlier(self) -> dict[str, Earlier]:
        """Returns, for each run of the plan, the latest finished run that differs from it only in code, by key."""
        found: dict[str, Earlier] = {}
        for number, entry in enumerate(self._others):
            changed = tuple(_code_changes(entry["code"], self._now["code"]))
            for run_spec in self._plan.run_specs:
                old = entry["runs"].get(run_spec.configuration)
                if old not in (None, run_spec.key) and self._is_finished(old):
                    found[run_spec.key] = Earlier(old, changed, frozenset(self._needs(run_spec, number, entry["code"])))
        return found

    def _needs(self, run_spec: RunSpec, number: int, before: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        """The changed groups of code that a run or its sources use, and a marker if it has a source."""
        now = self._now["code"]
        heads = {now["heads"][task]: before["heads"][task] for task in map(original, run_spec.tasks)}
        for group in self._plan.code.groups_of(run_spec.tasks, evaluates=run_spec.evaluates):
            if now["hashes"][group] != before["hashes"].get(heads.get(group, group)):
                yield number, group
        if run_spec.source is not None:
            yield number, SOURCE
            source = next(other for other in self._plan.run_specs if other.key == run_spec.source)
            yield from self._needs(source, number, before)

    # --- seeds ----------------------------------------------------------------------------------------------------

    def extensions(self) -> list[str]:
        """Returns a sentence if seeds were added or removed after results were available."""
        seeds = self._seeds()
        if len(seeds) < 2:
            return []
        versions = "; then ".join(", ".join(map(str, some)) for some in seeds)
        return [
            f"The seeds were changed after results of earlier seeds were available: {versions}. Adding seeds until a"
            " gain is significant makes false positives more likely than alpha."
        ]

    def _seeds(self) -> list[list[int]]:
        """The seeds of this command, after those of earlier commands whose results were available and are used."""
        taken = {note["from"] for note in self._taken_over().values()}
        before = [entry["seeds"] for entry in self._others if not taken.isdisjoint(entry["runs"].values())]
        same = [entry for entry in self.entries if not changes_between(entry, self._now)]
        seeds: list[list[int]] = same[-1]["seeds"] if same else []
        if not any(map(self._is_finished, same[-1]["runs"].values() if same else ())):
            seeds = seeds[:-1]
        seeds = [*(some for listed in before for some in listed if some not in seeds), *seeds]
        now = list(self._plan.study.spec.seed_list)
        return seeds if seeds and seeds[-1] == now else [*seeds, now]

    # --- entries --------------------------------------------------------------------------------------------------

    @cached_property
    def _now(self) -> Entry:
        code = self._plan.code
        return {
            "settings": self.settings,
            "code": {
                "heads": dict(code.head_groups),
                "hashes": code.identities,
                "definitions": code.definitions,
            },
            "runs": {run_spec.configuration: run_spec.key for run_spec in self._plan.run_specs},
        }

    @property
    def _others(self) -> list[Entry]:
        return [entry for entry in self.entries if _what(entry) != _what(self._now)]


def _what(entry: Entry) -> Any:
    """What identifies an entry; it stays the same entry when runs are added."""
    return json.loads(json.dumps([entry["settings"], entry["code"]["heads"], entry["code"]["hashes"]]))


# --- differences ------------------------------------------------------------------------------------------------------


def changes_between(before: Entry, now: Entry) -> list[str]:
    """Returns the changed settings as `key: before -> now`, and the changed code as `code: names`."""
    settings = [f"{key}: {was} -> {found}" for key, was, found in _setting_changes(before["settings"], now["settings"])]
    return [*_capped(settings), *_code_changes(before["code"], now["code"])]


def _setting_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """The values that differ, with dotted keys; tasks that are in only one of the two are ignored."""
    is_by_task = prefix in ("tasks.", "data.")
    for key in dict.fromkeys([*before, *now]):
        if is_by_task and not (key in before and key in now):
            continue
        place, was, found = f"{prefix}{key}", before.get(key), now.get(key)
        if isinstance(was, Mapping) and isinstance(found, Mapping):
            yield from _setting_changes(was, found, f"{place}.")
        elif json.dumps(was, default=list) != json.dumps(found, default=list):
            yield place, was, found


def _code_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The changed definitions of code that both use, as a list with one text; empty if nothing changed."""
    tasks = [task for task in now["heads"] if task in before["heads"]]
    shared = [
        group for group in (TRAINING, PERMUTING, EVALUATING) if group in before["hashes"] and group in now["hashes"]
    ]
    pairs = [(group, group) for group in shared] + [(before["heads"][task], now["heads"][task]) for task in tasks]
    different = [new for old, new in pairs if before["hashes"][old] != now["hashes"][new]]
    if not different:
        return []
    names = changed_definitions(
        _merged(before["definitions"][old] for old, _ in pairs), _merged(now["definitions"][new] for _, new in pairs)
    )
    # There are no names if only the format of stored examples changed, which is not a definition.
    return [f"code: {', '.join(_capped(names or list(dict.fromkeys(different))))}"]


def _merged(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {name: value for part in parts for name, value in part.items()}


def _capped(texts: Sequence[str]) -> list[str]:
    more = len(texts) - LISTED
    return [*texts[:LISTED], *([f"and {more} more"] if more > 0 else [])]

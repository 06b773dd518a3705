"""One command's work on a study: its plan, the runs that are there, the training of those that aren't."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mtl.baselines import trivial_baselines
from mtl.report import strongest_baseline
from mtl.runs import folder_name
from mtl.store import content_key
from mtl.study.analysis import find
from mtl.study.designs import Run
from mtl.study.findings import Findings
from mtl.study.launchers import make_launcher
from mtl.study.ledger import Ledger
from mtl.study.plan import StudyPlan, code_version, make_plan
from mtl.study.spec import Study
from mtl.study.tracking import StudyTracker, finished_runs
from mtl.study.training import Order
from mtl.study.worker import Work
from mtl.versions import versions

LISTED = 12
"""Changed keys that are told one by one."""


class Session:
    """A study on its way.

    Args:
        study: As loaded.
        root: Of results on disk; the ledger in it serves all studies.
        proposal: Groups that were predicted, which this study's design `groups` verifies.
    """

    def __init__(self, study: Study, root: Path, *, proposal: Sequence[Sequence[str]] = ()) -> None:
        self.plan: StudyPlan = make_plan(study)
        self.spec = study.spec
        self.folder = root / "studies" / folder_name(study.spec.name)
        self.ledger = Ledger(root / "ledger")
        self.tracker = StudyTracker(study.spec.name, study.spec.experiment)
        self._proposal = [list(group) for group in proposal]

    # --- training -------------------------------------------------------------------------------------------------

    def run(self, session: str) -> None:
        """Trains what is missing, sends it to MLflow, and says what changed since the last time."""
        for sentence in self.changes():
            sys.stderr.write(f"mtl: study: {sentence}\n")
        self._bring_known_runs()
        self._write("identity.json", {"identity": self._identity, "keys": [order.key for order in self.plan.orders]})
        left = [order for order in self.plan.orders if not self.is_done(order)]
        self._say(f"{len(self.plan.orders)} runs, {len(left)} to train.")
        self.tracker.describe(self.description())
        self.tracker.publish(self.plan.orders, self.ledger)
        if left:
            self._train(left, session)
        self.tracker.publish(self.plan.orders, self.ledger)
        self._drop_encoders()
        self.tracker.describe(self.description())

    def is_done(self, order: Order) -> bool:
        """Whether a run needs no training. One whose encoder is gone does where a run that starts from it does."""
        waiting = any(o.source == order.key and not self.is_done(o) for o in self.plan.orders)
        return self.ledger.is_finished(order.key, with_encoder=waiting)

    def _train(self, left: Sequence[Order], session: str) -> None:
        launcher = self.spec.launcher
        started = time.perf_counter()
        shown: set[str] = set()

        def finished(order: Order) -> None:
            self._progress(left, shown)
            self.tracker.publish([order], self.ledger)

        def watch() -> None:
            self._progress(left, shown)
            self.tracker.publish(left, self.ledger)

        make_launcher(launcher.name, launcher.options, launcher.workers, self.spec.trainer.threads).run(
            Work(tuple(left), self.ledger, session, self.spec.name), self.folder, watch, finished
        )
        self._progress(left, shown)
        results = [self.ledger.result(order.key) for order in left]
        costs = [result["cost"] for result in results if result is not None and result["session"] == session]
        if costs:
            busy = sum(cost["training_seconds"] + cost["evaluation_seconds"] for cost in costs)
            seconds = time.perf_counter() - started
            entry = {"seconds": seconds, "workers": launcher.workers, "busy_seconds": busy, "runs": len(costs)}
            self._write("sessions.json", {"sessions": [*self._sessions, entry]})

    def _progress(self, left: Sequence[Order], shown: set[str]) -> None:
        for order in left:
            result = None if order.key in shown else self.ledger.result(order.key)
            if result is not None:
                shown.add(order.key)
                scores = ", ".join(f"{t} {result['test'][t][m] or 0:.3f}" for t, m in result["primary"].items())
                self._say(f"[{len(shown)}/{len(left)}] {order.name}: {scores} ({result['cost']['seconds']:.1f} s)")

    def _bring_known_runs(self) -> None:
        """Finished runs that only MLflow has, from another machine or a folder that is gone."""
        missing = [order.key for order in self.plan.orders if not self.ledger.is_finished(order.key)]
        there = self.tracker.finished_or_none() if missing else {}
        for key in missing:
            if there and key in there:
                self.tracker.fetch(there[key], key, self.ledger)

    def _drop_encoders(self) -> None:
        """Encoders take most of the ledger's room, and are needed only until the runs that start from them are done."""
        for order in self.plan.orders:
            dependants = [o for o in self.plan.orders if o.source == order.key]
            if order.keeps_encoder and all(self.ledger.is_finished(o.key) for o in dependants):
                self.ledger.encoder(order.key).unlink(missing_ok=True)

    # --- what the study is ----------------------------------------------------------------------------------------

    def description(self) -> dict[str, Any]:
        """All that a report needs beside the runs' results, as JSON types."""
        keys = {run: order.key for run, order in zip(self.plan.runs, self.plan.orders, strict=True)}
        failures = {order.key: self.ledger.failure(order.key) for order in self.plan.orders}
        seeds = self.spec.seed_list
        return {
            "study": self.spec.name,
            "question": self.spec.question,
            "setup": self.plan.words(),
            "seeds": list(seeds),
            "alpha": self.spec.alpha,
            "max_encoders": self.spec.max_encoders,
            "proposal": self._proposal,
            "mixture": self.plan.study.mixture.to_dict(),
            "targets": self._targets,
            "singles": {task: [keys[Run((task,), seed)] for seed in seeds] for task in self.plan.study.mixture.tasks},
            "comparisons": [
                [one.design, one.target, one.partner, one.seed, keys[one.treated], keys[one.reference]]
                for one in self.plan.comparisons
            ],
            "runs": {o.key: {"name": o.name, "company": o.company, "designs": o.designs} for o in self.plan.orders},
            "failures": {key: failure["error"] for key, failure in failures.items() if failure is not None},
            "sessions": self._sessions,
            "deviations": self.changes(),
            "versions": versions(self.plan.orders[0].trainer["accelerator"]),
        }

    def findings(self) -> Findings:
        """What the finished runs on disk support."""
        return find(self.description(), finished_runs(self.plan.orders, self.ledger))

    @cached_property
    def _targets(self) -> dict[str, Any]:
        """What is known of each task by itself; its baselines are fitted once."""
        plan = self.plan
        key = content_key(self._identity["data"], plan.study.mixture.to_dict()["tasks"])
        before = self._read("targets.json")
        if before.get("key") == key:
            found: dict[str, Any] = before["targets"]
            return {name: {**facts, "updates": plan.updates[name]} for name, facts in found.items()}
        scores = trivial_baselines(plan.heads, plan.data, "test")
        targets = {}
        for name, splits in plan.data.items():
            metric = plan.heads[name].primary_metric
            rows = splits["test"].rows
            has_documents = any(row.document != row.id for row in rows)
            targets[name] = {
                "metric": metric,
                "unit": "document" if has_documents else "row",
                "num_units": len(set(rows.documents().tolist())),
                "updates": plan.updates[name],
                "train_rows": splits["train"].example_summary.used,
                "baseline": strongest_baseline(scores[name], metric),
            }
        self._write("targets.json", {"key": key, "targets": targets})
        return targets

    # --- what changed ---------------------------------------------------------------------------------------------

    def changes(self) -> list[str]:
        """What changed since runs of this study were finished that no longer count, in sentences."""
        return self._changes

    @cached_property
    def _changes(self) -> list[str]:
        before = self._read("identity.json")
        kept = [key for key in before.get("keys", []) if self.ledger.is_finished(key)]
        old = [key for key in kept if key not in {order.key for order in self.plan.orders}]
        if not old:
            return []
        changed = list(_differences(before["identity"], self._identity))
        if not changed:  # fewer tasks, seeds or designs
            return []
        told = [f"{key}: {was} -> {now}" for key, was, now in changed[:LISTED]]
        more = [f"and {len(changed) - LISTED} more"] if len(changed) > LISTED else []
        return [
            f"Changed since runs were finished: {'; '.join([*told, *more])}. {len(old)} finished runs of before are"
            " kept apart, under their own keys, and don't count here."
        ]

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What decides results, in the user's words."""
        order, mixture = self.plan.orders[0], self.plan.study.mixture
        fields = mixture.to_dict()
        return {
            "tasks": {name: {k: v for k, v in task.items() if k != "data"} for name, task in fields["tasks"].items()},
            "data": {
                name: {split: content.row_summary.fingerprint[:12] for split, content in splits.items()}
                for name, splits in self.plan.data.items()
            },
            "encoder": fields["encoder"],
            "batch_size": fields["batch_size"],
            "budget": self.spec.budget.model_dump(),
            "select": self.spec.select,
            "model": order.model,
            "trainer": order.trainer,
            "code": code_version(mixture.tasks.values())[:12],
        }

    # --- files ----------------------------------------------------------------------------------------------------

    @property
    def _sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._read("sessions.json").get("sessions", [])
        return found

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            return {}
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{name}"
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
        part.replace(self.folder / name)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self.spec.name}: {text}\n")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The values of keys that both have and that differ, with dotted keys."""
    for key in (key for key in before if key in now):
        place = f"{prefix}{key}"
        if isinstance(before[key], Mapping) and isinstance(now[key], Mapping):
            yield from _differences(before[key], now[key], f"{place}.")
        elif json.dumps(before[key], default=list) != json.dumps(now[key], default=list):
            yield place, before[key], now[key]

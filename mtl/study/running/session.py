"""The work of one command on a study: plans it, finds finished runs, and trains missing ones."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mtl.code_identity import code_identity
from mtl.config import components
from mtl.data.store import content_key
from mtl.encoder.location import encoder_identity
from mtl.evaluation.frozen import FrozenBaseline
from mtl.files import folder_name, read_json, write_json
from mtl.hashed_ids import without_ids
from mtl.messages import counted
from mtl.study.design.description import described
from mtl.study.design.missing_data import with_available_data
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import Run, single_runs
from mtl.study.design.study_file import Study
from mtl.study.running.history import History
from mtl.study.running.launchers import Launcher
from mtl.study.running.ledger import Ledger
from mtl.study.running.study_tracker import StudyTracker
from mtl.study.running.takeover import Takeover
from mtl.study.running.target_facts import target_facts
from mtl.study.running.worker import Work
from mtl.study.statistics.analysis import findings_of
from mtl.study.statistics.findings import Findings
from mtl.tracking.versions import versions

if TYPE_CHECKING:
    from mlflow.entities import RunInfo


class Session:
    """The plan of a study, with its results on disk and in MLflow.

    Args:
        study: The loaded study.
        root: Folder of all results; its ledger is shared by all studies.
        proposal: Groups predicted from pairs, which are added to the design `groups`; ignored if the study has other
            tasks or no pairs.
        tracker: Tracker of the study; None creates one.
    """

    def __init__(
        self,
        study: Study,
        root: Path,
        *,
        proposal: Sequence[Sequence[str]] = (),
        tracker: StudyTracker | None = None,
    ) -> None:
        self._started = time.perf_counter()
        study = with_available_data(study)
        self._proposal = [list(group) for group in proposal] if _fits(proposal, study) else []
        if self._proposal:
            study = study._replace(spec=study.spec.with_groups(self._proposal))
        self._published = study.published
        self.plan: StudyPlan = make_plan(study)
        self.spec = study.spec
        self.folder = root / "studies" / folder_name(study.spec.name)
        self.ledger = Ledger(root / "ledger")
        self.tracker = tracker or StudyTracker(study.spec.name, study.spec.experiment)
        self._elsewhere: dict[str, RunInfo] = {}  # finished runs in MLflow, by key
        self.history = History(self.plan, self.folder / "identities.json", self._has_result, self._taken_over)

    # --- training -------------------------------------------------------------------------------------------------

    def run(self, session: str, *, verify_old: int = 0) -> None:
        """Trains the missing runs, queues them for MLflow, and reports what changed since the last command.

        Args:
            session: Id of this command.
            verify_old: Number of runs finished with earlier code to train again, to verify that the others
                may be taken over; 0 takes over none.
        """
        for sentence in self.ledger.set_damaged_aside(run_spec.key for run_spec in self.plan.run_specs):
            self._say(f"{sentence}; what is missing is fetched or trained again.")
        self.bring_known_runs()
        for sentence in self.history.changes():
            sys.stderr.write(f"mtl: study: {sentence}\n")
        self.history.note()
        self.tracker.describe(self.description())
        takeover = self.takeover()
        if verify_old:
            takeover.run(verify_old, lambda run_specs: self._train(run_specs, session))
            self.history.note()
            self.tracker.describe(self.description())
        elif possible := takeover.possible():
            self._say(f"--verify-old 3 can take over {counted(possible, 'finished run')}, since only code has changed.")
        left = [run_spec for run_spec in self.plan.run_specs if not self.is_done(run_spec)]
        self._say(f"{len(self.plan.run_specs)} runs, {len(left)} to train.")
        self.tracker.publish(self.plan.run_specs, self.ledger)
        if left:
            self._train(left, session)
        self.tracker.publish(self.plan.run_specs, self.ledger)
        self._drop_encoders()
        self._note_session(session)
        self.tracker.describe(self.description())

    def takeover(self) -> Takeover:
        """Returns the results with earlier code that the study may take over."""
        return Takeover(
            self.plan.run_specs, self.history.earlier(), self.ledger, fetch=self._has_or_fetches, say=self._say
        )

    def is_done(self, run_spec: RunSpec) -> bool:
        """Returns whether a run needs no training."""
        return self._work(self.plan.run_specs, "").is_done(run_spec)

    def _work(self, run_specs: Sequence[RunSpec], session: str) -> Work:
        return Work(tuple(run_specs), self.ledger, session, self.spec.name)

    def _train(self, left: Sequence[RunSpec], session: str) -> None:
        shown: set[str] = set()

        def watch() -> None:
            self._progress(left, shown)
            self.tracker.publish(left, self.ledger)

        def finished(run_spec: RunSpec) -> None:
            watch()
            if interrupts:
                raise KeyboardInterrupt

        # Includes finished sources: another study may have deleted an encoder from which a run still has to start.
        needed = {run_spec.source for run_spec in left} | {run_spec.key for run_spec in left}
        run_specs = [run_spec for run_spec in self.plan.run_specs if run_spec.key in needed]
        place = self.launcher()
        with noted_interrupts() as interrupts:
            try:
                place.run(self._work(run_specs, session), self.folder, watch, finished)
            finally:
                self._warn_of_differences(run_specs, session)
        self._progress(left, shown)

    def launcher(self) -> Launcher:
        """The place where runs are trained."""
        launcher = self.spec.launcher
        cls = components.find("launcher", launcher.name, "launcher.name")
        place: Launcher = components.build(cls, launcher.workers, self.spec.trainer.threads, **launcher.options)
        return place

    def _warn_of_differences(self, run_specs: Sequence[RunSpec], session: str) -> None:
        """Warns of runs that were trained again for their encoder and got different scores."""
        for run_spec in run_specs:
            for repeat in self._repeats(run_spec, session):
                if repeat["differences"]:
                    sys.stderr.write(
                        f"mtl: study: Warning: '{run_spec.name}' was trained again for its encoder and got different"
                        f" test scores: {', '.join(repeat['differences'])}. The first scores count.\n"
                    )

    def _repeats(self, run_spec: RunSpec, session: str) -> list[dict[str, Any]]:
        """The trainings, by this command, of a run that already had a result."""
        return [repeat for repeat in self.ledger.repeats(run_spec.key) if repeat["session"] == session]

    def _note_session(self, session: str) -> None:
        """Records the time of this command so far, and how much of it was training and evaluation."""
        results = [self.ledger.result(run_spec.key) for run_spec in self.plan.run_specs]
        costs = [result["cost"] for result in results if result is not None and result["session"] == session]
        again = [repeat["cost"] for run_spec in self.plan.run_specs for repeat in self._repeats(run_spec, session)]
        if not costs and not again:
            return
        busy = sum(cost["training_seconds"] + cost["evaluation_seconds"] for cost in (*costs, *again))
        seconds, workers = time.perf_counter() - self._started, self.launcher().workers
        entry = {"seconds": seconds, "workers": workers, "busy_seconds": busy, "runs": len(costs)}
        entry["repeat_seconds"] = sum(cost["seconds"] for cost in again)
        with FileLock(self.folder / "sessions.lock"):
            self._write("sessions.json", {"sessions": [*self._sessions, entry]})

    def _progress(self, left: Sequence[RunSpec], shown: set[str]) -> None:
        for run_spec in left:
            result = None if run_spec.key in shown else self.ledger.result(run_spec.key)
            if result is not None:
                shown.add(run_spec.key)
                found = {target: result["test"][target][metric] for target, metric in result["primary"].items()}
                scores = ", ".join(f"{t} {'undefined' if s is None else f'{s:.3f}'}" for t, s in found.items())
                self._say(f"[{len(shown)}/{len(left)}] {run_spec.name}: {scores} ({result['cost']['seconds']:.1f} s)")

    def bring_known_runs(self) -> None:
        """Downloads finished runs that only MLflow has, from another machine or a deleted folder."""
        missing = [run_spec.key for run_spec in self.plan.run_specs if not self.ledger.is_finished(run_spec.key)]
        there = self.tracker.finished() if missing else {}
        self._elsewhere = dict(there or {})
        for key in missing:
            if there and key in there and not self.tracker.fetch(there[key], key, self.ledger):
                there = self.tracker.finished()  # what cannot be downloaded is trained again
        before = self.tracker.known_description() if self._elsewhere and not self.history.entries else {}
        if "sessions" in before:
            self._write("sessions.json", {"sessions": before["sessions"]})
        if "identities" in before:
            self.history.restore(before["identities"])

    def _has_result(self, key: str) -> bool:
        return key in self._elsewhere or self.ledger.is_finished(key)

    def _has_or_fetches(self, key: str) -> bool:
        if self.ledger.is_finished(key):
            return True
        return key in self._elsewhere and self.tracker.fetch(self._elsewhere[key], key, self.ledger)

    def _taken_over(self) -> dict[str, dict[str, Any]]:
        """The notes on runs that were taken over from earlier code, by key."""
        results = {run_spec.key: self.ledger.result(run_spec.key) for run_spec in self.plan.run_specs}
        return {key: result["taken_over"] for key, result in results.items() if result and "taken_over" in result}

    def _drop_encoders(self) -> None:
        """Deletes encoders that a killed command left behind."""
        work = self._work(self.plan.run_specs, "")
        for source in {run_spec.source for run_spec in self.plan.run_specs if run_spec.source is not None}:
            work.drop_encoder(source)

    # --- what the study is ----------------------------------------------------------------------------------------

    def description(self) -> dict[str, Any]:
        """Returns everything that a report needs besides the results of the runs, as JSON types."""
        keys, folds = self._keys()
        failures = {run_spec.key: self.ledger.failure(run_spec.key) for run_spec in self.plan.run_specs}
        seeds = self.spec.seed_list
        return {
            "study": self.spec.name,
            "question": self.spec.question,
            "setup": self._setup,
            "seeds": list(seeds),
            "alpha": self.spec.alpha,
            "max_encoders": self.spec.max_encoders,
            "proposal": self._proposal,
            "mixture": without_ids(self.plan.study.mixture.to_dict()),
            "targets": self._targets,
            "left_out": {name: self.spec.optional_tasks[name] for name in self.plan.study.left_out},
            "averages": {name: list(tasks) for name, tasks in self.spec.averages.items()},
            "arms": {"first": next(iter(self.spec.arms), None), "published": [list(one) for one in self._published]},
            "sizes": [list(point) for point in self.plan.sizes],
            "singles": {task: [keys[Run((task,), seed)] for seed in seeds] for task in self.plan.study.mixture.tasks},
            "comparisons": [
                [one.design, one.target, one.partner, one.seed, keys[one.treated], keys[one.reference]]
                for one in self.plan.comparisons
            ],
            "folds": {keys[run]: [spec.key for spec in specs] for run, specs in folds.items()},
            "runs": {
                o.key: {"name": o.name, "trains": o.trains, "designs": o.designs, "source": o.source}
                | ({"evaluates": True} if o.evaluates else {})
                for o in self.plan.run_specs
            }
            | {
                keys[run]: {
                    "name": str(run),
                    "trains": run.trains,
                    "designs": specs[0].designs,
                    "source": keys.get(run.source) if run.source else None,
                }
                for run, specs in folds.items()
            },
            "failures": {key: failure["told"] for key, failure in failures.items() if failure is not None},
            "sessions": self._sessions,
            "identities": self.history.entries,
            "deviations": [*self.history.changes(), *self.history.takeovers(), *self.history.extensions()],
            "versions": versions(self.plan.run_specs[0].trainer["accelerator"]),
        }

    def _keys(self) -> tuple[dict[Run, str], dict[Run, list[RunSpec]]]:
        """The keys of all runs, and the specs of those that stand for one run in each fold."""
        keys = {run: run_spec.key for run, run_spec in zip(self.plan.runs, self.plan.run_specs, strict=True)}
        if self.plan.folds == ("",):
            return keys, {}
        compared = [run for one in self.plan.comparisons for end in one[-2:] for run in end.chain()]
        singles = single_runs(list(self.plan.study.mixture.tasks), self.spec.seed_list)
        folds = {run: self.plan.specs_of(run) for run in dict.fromkeys([*singles, *compared])}
        return keys | {run: content_key("folds", *(spec.key for spec in specs)) for run, specs in folds.items()}, folds

    def findings(self) -> Findings:
        """Returns the findings from the finished runs on disk."""
        return findings_of(self.description(), self.ledger.results(run_spec.key for run_spec in self.plan.run_specs))

    @cached_property
    def _setup(self) -> list[str]:
        """The description of the plan; cached, because it compares the texts of all splits."""
        return described(self.plan)

    @cached_property
    def _targets(self) -> dict[str, Any]:
        """Facts about each task; its trivial predictors are fitted only once."""
        plan = self.plan
        heads = {type(head) for head in plan.heads.values()}
        code = code_identity(target_facts, FrozenBaseline, *heads, everything=True)
        mixture = plan.study.mixture
        encoder = encoder_identity(mixture.encoder) if self.spec.frozen else None
        unit = mixture.evaluation.unit
        key = content_key(self.history.settings["data"], code, mixture.to_dict()["tasks"], encoder, unit)
        before = self._read("targets.json")
        if before.get("key") == key:
            found: dict[str, Any] = before["targets"]
            return {name: {**facts, "updates": plan.updates[name]} for name, facts in found.items()}
        self._say(f"Fitting the trivial predictors of {counted(len(plan.data), 'task')}, once.")
        frozen = FrozenBaseline(mixture) if self.spec.frozen else None
        folds = [plan.settings.data(name) for name in plan.folds]
        targets = {
            name: {**target_facts(name, plan.heads, folds, frozen, unit), "updates": plan.updates[name]}
            for name in plan.data
        }
        if frozen is not None and frozen.problem is not None:
            self._say(f"The trivial predictor `frozen` is missing: {frozen.problem}")
        else:
            self._write("targets.json", {"key": key, "targets": targets})
        return targets

    # --- files ----------------------------------------------------------------------------------------------------

    @property
    def _sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._read("sessions.json").get("sessions", [])
        return found

    def _read(self, name: str) -> dict[str, Any]:
        return read_json(self.folder / name)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write_json(self.folder / name, content)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self.spec.name}: {text}\n")


@contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Records every Ctrl-C; otherwise, one that arrives while Python finalises an object is lost."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noted  # signals do not arrive here, or are ignored, as in a background job of a shell
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _fits(proposal: Sequence[Sequence[str]], study: Study) -> bool:
    """Whether groups could have been predicted for this study: they have its tasks, and it has pairs."""
    tasks = sorted(task for group in proposal for task in group)
    return tasks == sorted(study.mixture.tasks) and any(part.name == "pairwise" for part in study.spec.parts)

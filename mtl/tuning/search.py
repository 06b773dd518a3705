"""Asks for trials, trains them with every seed, and records their scores, in parallel with other processes.

    runs/tuning/<name>/
        journal.log                     Optuna's study: values, scores and states of all trials
        search.json                     what makes the trials comparable
        trials/3/                       the runs of trial 3, the config and the output of each training
        report.md  report.json          the report

Everything that a trial needs is on disk before its training begins. Stopped at any time, the search continues where it
was: finished trainings are not repeated, and an interrupted one is resumed from its last checkpoint.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from filelock import FileLock
from optuna.pruners import WilcoxonPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from mtl.files import folder_name, read_json, write_json, write_text
from mtl.messages import say
from mtl.problems import InputError, Problem
from mtl.tuning import training_process
from mtl.tuning.claims import TrialClaim
from mtl.tuning.pruning import PRUNED
from mtl.tuning.records import REASON, REPEATS, SCORES, UNDERTRAINED, SearchRecord, record_of
from mtl.tuning.search_space import fit_sections, num_combinations
from mtl.tuning.suggestions import Direction, make_sampler, open_trials
from mtl.tuning.training_process import TrainingOrder, best_value, drop_checkpoints, run_of, write_config
from mtl.tuning.tuning_file import first_values

if TYPE_CHECKING:
    from mtl.tracking.run_folder import RunFolder
    from mtl.tuning.tuning_file import Tuning
    from mtl.tuning.tuning_tracker import TuningTracker

WAIT = 0.5
"""Seconds between two looks at trials of other processes."""

MAX_FAILURES = 3
"""Number of trials that may fail one after another before the search stops."""


class SearchStoppedError(Exception):
    """The search stopped before its last trial; the message says why and what to do."""


class TrialSearch:
    """A search with its trials on disk and in MLflow.

    Args:
        tuning: The loaded search.
        root: Folder of all results.
        tracker: Tracker of the search; None tracks nothing.
    """

    def __init__(self, tuning: Tuning, root: Path, *, tracker: TuningTracker | None = None) -> None:
        self.tuning, self.spec = tuning, tuning.spec
        self.folder = root.absolute() / "tuning" / folder_name(tuning.spec.name)
        self.tracker = tracker
        self._mixture_name = tuning.mixture(first_values(tuning.space), 0).name
        self._direction: Direction = "minimize" if tuning.is_minimized else "maximize"
        self._require_same()
        self._study = open_trials(self.folder, self.spec.name, direction=self._direction, pruner=self.spec.prune)
        self._mixture_file = self._write_mixture()
        self._failures = 0

    def run(self) -> None:
        """Trains the missing trials, and waits for those of other processes.

        Raises:
            SearchStoppedError: A training was interrupted, or several trials in a row failed.
        """
        before = self.record().counts
        if self._trials():
            say(f"tune: {len(self._trials())} of {self.tuning.num_trials} trials exist, {before['finished']} finished.")
        while True:
            found = self._next()
            if found is not None:
                number, claim = found
                with claim:
                    self._evaluate(number, claim)
            elif self._is_done():
                return
            else:
                time.sleep(WAIT)

    def record(self, *, with_importance: bool = False) -> SearchRecord:
        """Returns the trials so far as plain values.

        Args:
            with_importance: Whether to estimate the importance of each key.
        """
        return record_of(self.tuning, self._study, self._mixture_file, with_importance=with_importance)

    # --- choosing a trial -----------------------------------------------------------------------------------------

    def _next(self) -> tuple[int, TrialClaim] | None:
        """An unfinished trial that no process works on, or a new one, with the claim on it."""
        with FileLock(self.folder / "search.lock"):
            trials = self._trials()
            for trial in trials:
                if trial.state is TrialState.RUNNING:
                    claim = TrialClaim.take(self._folder_of(trial.number) / "claim")
                    if claim is not None:
                        return trial.number, claim
            if not self._wants_more(trials):
                return None
            claim = TrialClaim.take(self._folder_of(len(trials)) / "claim")
            assert claim is not None, "only the holder of the lock begins trials"
            self._study.sampler = make_sampler(
                self.spec.sampler, self.tuning.space, self.spec.sampler_seed, len(trials)
            )
            new = self._study.ask()
            self._suggest(new)
            return new.number, claim

    def _suggest(self, trial: Trial) -> dict[str, Any]:
        """The values of a trial, which are drawn if a process was killed before it had drawn them."""
        return {key: values.suggest(trial, key) for key, values in self.tuning.space.items()}

    def _wants_more(self, trials: list[FrozenTrial]) -> bool:
        tried = {tuple(sorted(trial.params.items())) for trial in trials}
        return len(trials) < self.tuning.num_trials and len(tried) < num_combinations(self.tuning.space)

    def _is_done(self) -> bool:
        trials = self._trials()
        return all(trial.state.is_finished() for trial in trials) and not self._wants_more(trials)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    # --- one trial ------------------------------------------------------------------------------------------------

    def _evaluate(self, number: int, claim: TrialClaim) -> None:
        """Trains a trial with every seed, and records how it ended."""
        frozen = self._trials()[number]
        if frozen.state.is_finished():  # by the process that had the claim until now
            return
        self._study.sampler = make_sampler(self.spec.sampler, self.tuning.space, self.spec.sampler_seed, number)
        trial = Trial(self._study, frozen._trial_id)
        values = self._suggest(trial)
        if self.tracker is not None:
            self.tracker.begin_trial(number, values)
        scored = [one for one in self._trials()[:number] if one.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        twin = next((one for one in scored if one.params == trial.params), None)
        state, reason = self._repeat(trial, twin) if twin else self._train_seeds(trial, values, claim)
        scores = self._trials()[number].user_attrs.get(SCORES, {})
        if reason:
            trial.set_user_attr(REASON, reason)
        mean = sum(scores.values()) / len(scores) if state is TrialState.COMPLETE else None
        self._study.tell(trial, mean, state=state)
        self._drop_checkpoints()
        self._report(number)
        self._count_failures(state, reason)

    def _repeat(self, trial: Trial, twin: FrozenTrial) -> tuple[TrialState, str]:
        """Ends a trial like an earlier one with the same values, which is not trained again."""
        trial.set_user_attr(REPEATS, twin.user_attrs.get(REPEATS, twin.number))
        trial.set_user_attr(SCORES, twin.user_attrs.get(SCORES, {}))
        trial.set_user_attr(UNDERTRAINED, twin.user_attrs.get(UNDERTRAINED, []))
        return twin.state, twin.user_attrs.get(REASON, "")

    def _train_seeds(self, trial: Trial, values: dict[str, Any], claim: TrialClaim) -> tuple[TrialState, str]:
        """Trains the seeds that have no score yet; returns the state of the trial and why it did not finish."""
        for index, seed in enumerate(self.spec.seed_list):
            frozen = self._trials()[trial.number]
            scores = dict(frozen.user_attrs.get(SCORES, {}))
            if str(seed) not in scores:
                self._require_same()
                reason = self._train_seed(trial.number, values, index, claim)
                if reason:
                    return TrialState.FAIL, reason
                value = self._value(trial.number, seed)
                if value is None:
                    return TrialState.FAIL, f"{self.spec.objective} was undefined in all evaluations of seed {seed}"
                note = self._trials()[trial.number].user_attrs.get(PRUNED)
                if note is not None:
                    return TrialState.PRUNED, f"after evaluation {note['evaluation']} of seed {seed}"
                unfinished = [*frozen.user_attrs.get(UNDERTRAINED, []), *self._undertrained(trial.number, seed)]
                trial.set_user_attr(UNDERTRAINED, list(dict.fromkeys(unfinished)))
                scores[str(seed)] = value
                trial.set_user_attr(SCORES, scores)
            if isinstance(self._study.pruner, WilcoxonPruner):
                if index not in frozen.intermediate_values:
                    trial.report(scores[str(seed)], index)
                if index + 1 < len(self.spec.seed_list) and trial.should_prune():
                    return TrialState.PRUNED, f"after seed {seed}"
        return TrialState.COMPLETE, ""

    def _train_seed(self, number: int, values: dict[str, Any], index: int, claim: TrialClaim) -> str:
        """Trains one seed, or the rest of it; returns why it failed, or an empty text.

        Raises:
            SearchStoppedError: The training was interrupted from outside.
        """
        seed = self.spec.seed_list[index]
        folder = self._folder_of(number)
        run = self._find_run(number, seed)
        if run is None or run.info.get("status") != "FINISHED":
            try:
                mixture = self.tuning.mixture(values, seed)
            except InputError as error:  # values that are only invalid together
                return "; ".join(str(problem) for problem in error.problems)
            config, log = folder / f"s{seed}.yaml", folder / f"s{seed}.log"
            sections = self._sections(number, values, index)
            write_config(config, mixture.to_dict(), sections, root=folder, experiment=self.spec.experiment)
            code = training_process.train(TrainingOrder(config, log, claim.handle, lambda: self._nest(number, seed)))
            run = self._find_run(number, seed)
            status = None if run is None else run.info.get("status")
            if status == "KILLED":
                raise SearchStoppedError(
                    f"The training of trial {number} with seed {seed} was interrupted from outside."
                )
            if code or run is None or status != "FINISHED":
                why = None if run is None else run.info.get("reason")
                return f"{why or f'exit code {code}'} (seed {seed}; output in {log})"
        self._nest(number, seed)
        drop_checkpoints(run, "last")
        return ""

    def _sections(self, number: int, values: dict[str, Any], index: int) -> dict[str, dict[str, Any]]:
        """The options of `mtl fit` of a training, with the callback that prunes it."""
        sections = fit_sections(self.spec.sections, values)
        if self.spec.prune != "median":
            return sections
        arguments = {
            "folder": str(self.folder),
            "search": self.spec.name,
            "trial": number,
            "objective": self.spec.objective,
            "direction": self._direction,
            "pruner": self.spec.prune,
            "seed_index": index,
        }
        callback = {"class_path": "mtl.tuning.pruning.PruneTraining", "init_args": arguments}
        trainer = sections.get("trainer", {})
        own = trainer.get("callbacks") or []
        callbacks = [*(own if isinstance(own, list) else [own]), callback]
        return {**sections, "trainer": {**trainer, "callbacks": callbacks}}

    def _count_failures(self, state: TrialState, reason: str) -> None:
        self._failures = self._failures + 1 if state is TrialState.FAIL else 0
        if self._failures == MAX_FAILURES:
            message = f"{MAX_FAILURES} trials in a row failed, the last one: {reason}"
            raise SearchStoppedError(f"{message}. Repeat the command to continue with the next trial.")

    def _report(self, number: int) -> None:
        """Prints the result of a trial, and sends it to MLflow."""
        trial = self.record().trials[number]
        if self.tracker is not None:
            self.tracker.end_trial(trial)
        found = "" if trial.mean is None else f" {self.spec.objective} {trial.mean:.4f}"
        spread = "" if trial.spread is None else f" (sd {trial.spread:.4f})"
        repeats = "" if trial.repeats is None else f", repeats trial {trial.repeats}"
        reason = f": {trial.reason}" if trial.reason else ""
        values = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        say(f"tune: [{number + 1}/{self.tuning.num_trials}] {values}: {trial.state}{repeats}{reason}{found}{spread}")

    # --- files ----------------------------------------------------------------------------------------------------

    def _folder_of(self, number: int) -> Path:
        return self.folder / "trials" / str(number)

    def _find_run(self, number: int, seed: int) -> RunFolder | None:
        return run_of(self._folder_of(number), self._mixture_name, seed)

    def _value(self, number: int, seed: int) -> float | None:
        """The objective of a finished training; None if it was undefined."""
        run = self._find_run(number, seed)
        assert run is not None
        return best_value(run, self.spec.objective, is_minimized=self.tuning.is_minimized)

    def _undertrained(self, number: int, seed: int) -> list[str]:
        """The tasks that a finished training left while they were still improving."""
        run = self._find_run(number, seed)
        assert run is not None
        return [task for task, found in run.metrics.get("train", {}).items() if found.get("undertrained")]

    def _nest(self, number: int, seed: int) -> None:
        """Nests the MLflow run of a training below that of its trial, once there is one."""
        run = self._find_run(number, seed) if self.tracker is not None else None
        run_id = None if run is None else run.info.get("mlflow", {}).get("run_id")
        if run_id is not None:
            cast(Any, self.tracker).nest(number, run_id)

    def _drop_checkpoints(self) -> None:
        """Deletes the checkpoints of all trials but the best, which is the only one that is worth keeping."""
        with FileLock(self.folder / "search.lock"):
            record = self.record()
            best = record.best
            for trial in record.trials:
                if trial.state in ("finished", "pruned") and trial != best:
                    for seed in self.spec.seed_list:
                        run = self._find_run(trial.number, seed)
                        if run is not None:
                            drop_checkpoints(run, "last", "best")

    def _write_mixture(self) -> Path:
        """The file of the mixture, relative to the working folder if it is in it; written if there is none."""
        source = self.tuning.source.origin
        if isinstance(source, Path):
            path = source
        else:
            path = self.folder / "mixture.yaml"
            # Without searched values: overrides are merged with those of the file, as the trials' own were.
            content = self.tuning.source.fields({})
            write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

    def _require_same(self) -> None:
        """Compares the search with the one that began in its folder.

        Raises:
            InputError: They differ, so that their trials cannot be compared; the error lists the keys that changed.
        """
        path = self.folder / "search.json"
        now = _as_json(self.tuning.description())
        before = read_json(path)
        if not before:
            write_json(path, now)
            return
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            message = f"'{self.spec.name}' began in {self.folder} with another value of this key."
            advice = "Use another name, or remove the folder. Only trials and experiment may change."
            raise InputError([Problem(key, message, advice) for key in changed])


def _as_json(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(content, default=list))
    return found

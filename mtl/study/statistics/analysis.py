"""Findings from the results of a study's runs. Nothing here trains, reads data, or depends on where results are kept.

Shapes: S seeds, C cells, D documents, N rows of counts, K counts, B resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heads import Head
from mtl.config.mixture import TaskSpec, build_head
from mtl.study.design.designs import ARMS, CONTINUED, CONTROLS, DESIGNS, REFINE_FINETUNE
from mtl.study.design.pretraining import PRETRAINING_ARMS
from mtl.study.design.run_spec import Finished
from mtl.study.statistics.findings import (
    ArmScores,
    Cost,
    Curve,
    Family,
    Findings,
    FoldMeans,
    Gain,
    Grouping,
    RunNote,
    SizeGain,
    StageScores,
    SurfaceMeans,
    TargetFacts,
    TrainedOn,
)
from mtl.study.statistics.grouping import MAX_TASKS, best_grouping
from mtl.study.statistics.learning import Learning, collapsed, is_settled
from mtl.study.statistics.pooling import fold_scores, pooled
from mtl.study.statistics.resampling import Resamples, resampled_interval, resampled_scores, resamples
from mtl.study.statistics.significance import Cell, Interval, analyse, floor, relative_change, smallest_gain
from mtl.training.undertrained import rise_at_the_end

Array = NDArray[np.float64]
Results = Mapping[str, Finished]

NUM_RESAMPLES = 1_000

_NOT_RUN = " has not been run"

_SURFACES = ("seen_share", "ambiguous_share", "seen_f1", "unseen_f1")
"""What a run keeps of each target with mentions, in its `surfaces`."""


def findings_of(description: Mapping[str, Any], results: Results) -> Findings:
    """The findings of a study.

    Args:
        description: Description of the study, as `Session.description` returns it and MLflow stores it.
        results: Results of the finished runs, by key.
    """
    study = _StudyResults(description, results)
    designs = dict.fromkeys(one[0] for one in description["comparisons"])
    families = tuple(study.family(design) for design in designs)
    return Findings(
        study=description["study"],
        question=description["question"],
        setup=tuple(description["setup"]),
        seeds=tuple(description["seeds"]),
        alpha=description["alpha"],
        targets=study.targets,
        families=(*(f for f in families if not f.is_control), *(f for f in families if f.is_control)),
        curves=tuple(study.curves()),
        costs=tuple(study.costs()),
        outside_share=study.outside_share(),
        repeat_seconds=sum(session.get("repeat_seconds", 0.0) for session in description["sessions"]),
        grouping=study.grouping(families),
        missing=tuple(study.missing()),
        deviations=tuple(description["deviations"]),
        versions=description["versions"],
        trained_on=tuple(study.trained_on()),
        stages=tuple(study.stages()),
        arms=tuple(study.arms()),
        sizes=tuple(study.sizes(families)),
        folds=tuple(study.fold_means()),
        averages={name: tuple(tasks) for name, tasks in description.get("averages", {}).items()},
        left_out=description.get("left_out", {}),
        collapsed=tuple(study.collapsed.values()),
        undertrained=tuple(study.undertrained.values()),
        surfaces=tuple(study.surfaces()),
    )


class _RunPairs(NamedTuple):
    """The runs of one gain: their keys by seed, with the partner (treated) and without (reference)."""

    target: str
    partner: str
    treated: list[str]
    reference: list[str]


class _StudyResults:
    def __init__(self, description: Mapping[str, Any], results: Results) -> None:
        self._description = description
        self._seeds: list[int] = description["seeds"]
        self._heads: dict[str, Head] = {
            name: build_head(TaskSpec(**fields), hidden_size=8)
            for name, fields in description["mixture"]["tasks"].items()
        }
        self._folds: dict[str, list[str]] = description.get("folds", {})
        """The keys of the runs of all folds, by the key under which they are compared together."""
        whole = {key: keys for key, keys in self._folds.items() if all(one in results for one in keys)}
        of_folds = {key: pooled([results[one] for one in keys], self._heads) for key, keys in whole.items()}
        self._results: Results = {**results, **of_folds}
        self._unit_of_documents = {
            name: np.array(facts["unit_of_documents"])
            for name, facts in description["targets"].items()
            if "unit_of_documents" in facts
        }
        """The number of each scored document's unit, [D], of tasks with other units than documents."""
        self._resampled_of = cache(self._resample)
        self._drawn_of = cache(self._draw)
        self.collapsed: dict[tuple[str, str], RunNote] = {}
        self.undertrained: dict[tuple[str, str], RunNote] = {}
        self.targets = {name: self._facts(name, facts) for name, facts in description["targets"].items()}

    # --- scores ---------------------------------------------------------------------------------------------------

    def _facts(self, name: str, facts: Mapping[str, Any]) -> TargetFacts:
        units = facts.get("units", {})  # descriptions by earlier versions have none
        return TargetFacts(
            metric=facts["metric"],
            unit=facts["unit"],
            num_units=self._num_units(name, facts["num_units"]),
            updates=facts["updates"],
            train_rows=facts["train_rows"],
            baseline=_predictor(facts["baseline"]),
            single=self._scores(name, self._description["singles"][name]),
            dev_baseline=_predictor(facts.get("dev_baseline")),
            test_unit=units.get("test") or 0.0,
            learning=self._learning(name, self._description["singles"][name]),
        )

    def _num_units(self, target: str, num_read: int) -> int:
        """The number of units that were scored; `num_read` if no run is finished yet."""
        if target in self._unit_of_documents:
            return int(self._unit_of_documents[target].max()) + 1
        compared = self._folds or self._description["runs"]
        counts = (self._results[key].counts for key in compared if key in self._results)
        return next((len(found[target]["documents"]) for found in counts if target in found), num_read)

    def _scores(self, target: str, keys: Sequence[str]) -> tuple[float, ...]:
        """Test scores in the primary metric, [S]; NaN where a run is missing."""
        metric = self._heads[target].primary_metric
        found = [self._results[key].result["test"][target][metric] if key in self._results else None for key in keys]
        return tuple(float("nan") if value is None else float(value) for value in found)

    # --- learning -------------------------------------------------------------------------------------------------

    def _learning(self, target: str, keys: Sequence[str]) -> Learning:
        """How runs of different seeds learned a target. Notes those that need care."""
        facts, metric = self._description["targets"][target], self._heads[target].primary_metric
        names = {key: self._description["runs"][key]["name"] for key in keys if key in self._results}
        results = {key: self._results[key].result for key in names}
        curves = {key: [_number(p["dev"][target][metric]) for p in one["curve"]] for key, one in results.items()}
        selected = {key: _number(one["dev"][target][metric]) for key, one in results.items()}
        trivial, unit = _predictor(facts.get("dev_baseline")), facts.get("units", {}).get("dev")
        failed, unfinished = [], []
        if trivial is not None and selected:
            failed = [list(selected)[number] for number in collapsed(list(selected.values()), trivial[1])]
            for key in failed:
                self.collapsed[key, target] = RunNote(names[key], target, selected[key], trivial[1])
        for key, curve in curves.items():
            rise = None if unit is None else rise_at_the_end(curve, unit)
            if rise is not None:
                unfinished.append(key)
                self.undertrained[key, target] = RunNote(names[key], target, curve[-1], curve[-1] - rise)
        return Learning(
            len(names),
            tuple(names[key] for key in failed),
            tuple(names[key] for key in unfinished),
            sum(map(is_settled, curves.values())) if all(len(curve) > 1 for curve in curves.values()) else None,
        )

    def _trained(self, row: _RunPairs) -> tuple[str, list[str]]:
        """The task that the treated runs of a gain learned, and the runs that trained it: the sources of mere tests."""
        runs = self._description["runs"]
        if not any(runs[key].get("evaluates") for key in row.treated):
            return row.target, row.treated
        return row.partner, [runs[key]["source"] for key in row.treated]

    # --- gains ----------------------------------------------------------------------------------------------------

    def _rows(self, design: str) -> list[_RunPairs]:
        rows: dict[tuple[str, str], _RunPairs] = {}
        for name, target, partner, _, treated, reference in self._description["comparisons"]:
            if name == design:
                row = rows.setdefault((target, partner), _RunPairs(target, partner, [], []))
                row.treated.append(treated)
                row.reference.append(reference)
        order = list(self.targets)
        return sorted(rows.values(), key=lambda row: order.index(row.target))

    def family(self, design: str) -> Family:
        """The gains of a design or control, which are tested together."""
        rows = self._rows(design)
        treated = np.array([self._scores(row.target, row.treated) for row in rows]).T  # [S, C]
        reference = np.array([self._scores(row.target, row.reference) for row in rows]).T
        differences = treated - reference
        units = [self.targets[row.target].test_unit for row in rows]
        cells = analyse(differences, self._description["alpha"], units=units)
        beyond = self._beyond(design, rows, treated, units)
        learning = [self._learning(*self._trained(row)) for row in rows]
        gains = tuple(
            Gain(
                row.target,
                row.partner,
                cell,
                self._documents(row),
                tuple(differences[:, number].tolist()),
                tuple(reference[:, number].tolist()),
                tuple(treated[:, number].tolist()),
                beyond[number],
                learning[number],
                (*learning[number].collapsed, *self._learning(row.target, row.reference).collapsed),
            )
            for number, (row, cell) in enumerate(zip(rows, cells, strict=True))
        )
        smallest = _smallest_gain(len(self._seeds), len(rows), self._description["alpha"])
        spreads: dict[str, list[float]] = {}
        for gain in gains:
            spreads.setdefault(gain.target, []).append(gain.cell.sd)
        detectable = {
            target: max(smallest * float(np.nanmedian(sds)), self.targets[target].test_unit)
            for target, sds in spreads.items()
            if not np.isnan(sds).all()
        }
        return Family(
            design,
            (DESIGNS | CONTROLS)[design].question,
            design in CONTROLS,
            gains,
            floor(len(self._seeds)),
            detectable,
            # In leave_one_out the joint run has a different reference for each partner, so it has no single Delta-m.
            {} if design in CONTROLS or design == "leave_one_out" else dict(self._relative_changes(rows)),
        )

    def _beyond(
        self, design: str, rows: Sequence[_RunPairs], treated: Array, units: Sequence[float]
    ) -> Sequence[Cell | None]:
        """The statistics of each gain beyond that of further training alone; None if the study does not compare them.

        The baseline of both gains is the same run, so it cancels out.
        """
        further = {tuple(row.reference): row.treated for row in self._rows(CONTINUED)}
        if not (DESIGNS | CONTROLS)[design].is_against_single or not further:
            return [None] * len(rows)
        continued = np.array([self._scores(row.target, further[tuple(row.reference)]) for row in rows]).T  # [S, C]
        return analyse(treated - continued, self._description["alpha"], units=units)

    def _relative_changes(self, rows: Sequence[_RunPairs]) -> Iterator[tuple[str, tuple[float, ...]]]:
        """Delta-m by seed for every run that serves several targets, with the name of its tasks."""
        rows_by_runs: dict[tuple[str, ...], list[_RunPairs]] = {}
        for row in rows:
            rows_by_runs.setdefault(tuple(row.treated), []).append(row)
        for keys, members in rows_by_runs.items():
            before = np.array([self._scores(row.target, row.reference) for row in members]).T  # [S, T]
            after = np.array([self._scores(row.target, row.treated) for row in members]).T
            if len(members) > 1:
                name = self._description["runs"][keys[0]]["trains"]
                if (before <= 0).any():  # relative to a negative score, a gain would change its sign
                    before = np.full_like(before, np.nan)
                # Higher is better for every primary metric.
                yield name, tuple(relative_change(after - before, before, [1] * len(members)).tolist())

    def _documents(self, row: _RunPairs) -> Interval | None:
        """The interval of the mean gain over resampled seeds and documents; None if a run is missing."""
        if len(row.treated) < 2 or any(key not in self._results for key in (*row.treated, *row.reference)):
            return None
        treated = self._resampled_of(row.target, tuple(row.treated))
        reference = self._resampled_of(row.target, tuple(row.reference))
        return resampled_interval(treated - reference, self._drawn_of(row.target), 1 - self._description["alpha"])

    def _resample(self, target: str, keys: tuple[str, ...]) -> Array:
        """Corpus scores of runs, one per seed, in the resamples of the target's units, [B, S]."""
        found = [self._results[key].counts[target] for key in keys]
        counts = np.stack([one["counts"] for one in found])  # [S, N, K]
        scores = self._heads[target].primary_scores
        owners = found[0]["owners"]
        if target in self._unit_of_documents:
            units = self._unit_of_documents[target]
            if len(units) != len(found[0]["documents"]):
                raise ValueError(f"{target} must have {len(units)} scored documents, got {len(found[0]['documents'])}.")
            owners = units[owners]
        return resampled_scores(counts, scores, self._drawn_of(target), owners=owners)

    def _draw(self, target: str) -> Resamples:
        return resamples(len(self._seeds), self.targets[target].num_units, NUM_RESAMPLES)

    def stages(self) -> Iterator[StageScores]:
        """The scores of each target before and after the stages of `refine_finetune`."""
        runs = self._description["runs"]
        for row in self._rows(REFINE_FINETUNE):
            refined, alone = ([runs[key].get("source") for key in keys] for keys in (row.treated, row.reference))
            scores = (self._scores(row.target, keys) for keys in (refined, alone, row.treated, row.reference))
            yield StageScores(row.target, self.targets[row.target].single, *scores)

    def arms(self) -> Iterator[ArmScores]:
        """The scores of each target in each arm, the first arm first, of a design that compares with it."""
        arms = self._description.get("arms", {})
        published = {(task, arm): (score, source) for task, arm, _, score, source in arms.get("published", ())}
        known: set[str] = set()
        for row in [*self._rows(ARMS), *self._rows(PRETRAINING_ARMS)]:
            pairs = [(row.partner, row.treated)]
            if row.target not in known:
                pairs.insert(0, (arms["first"], row.reference))
            known.add(row.target)
            for arm, keys in pairs:
                score, source = published.get((row.target, arm), (None, ""))
                yield ArmScores(row.target, arm, self._scores(row.target, keys), score, source)

    def sizes(self, families: Sequence[Family]) -> Iterator[SizeGain]:
        """The gains at each size of a target's training set, with the design `sizes`."""
        cells = {(family.design, gain.target, gain.partner): gain.cell for family in families for gain in family.gains}
        for design, target, name, partner, num_rows in self._description.get("sizes", []):
            yield SizeGain(target, partner, num_rows, cells[design, target, name])

    def fold_means(self) -> Iterator[FoldMeans]:
        """The single-task scores of cross-validated targets, and their means over folds."""
        for target, keys in self._description["singles"].items() if self._folds else ():
            folds = [[self._results[one] for one in self._folds[key] if one in self._results] for key in keys]
            metric = self._heads[target].primary_metric
            scores = [fold_scores(found, target, metric) for found in folds]
            means = [
                float(np.mean(found)) if key in self._results else float("nan")
                for key, found in zip(keys, scores, strict=True)
            ]
            yield FoldMeans(target, self._scores(target, keys), tuple(means))

    def surfaces(self) -> Iterator[SurfaceMeans]:
        """The scores on seen and on unseen mentions of each training whose runs have kept them."""
        for target, keys in self._description["singles"].items():
            yield from self._surface(target, "", "", keys)
        for design in dict.fromkeys(one[0] for one in self._description["comparisons"]):
            for row in self._rows(design):
                yield from self._surface(row.target, design, row.partner, row.treated)

    def _surface(self, target: str, design: str, partner: str, keys: Sequence[str]) -> Iterator[SurfaceMeans]:
        runs = [self._results[key].result.get("surfaces", {}) for key in keys if key in self._results]
        kept = [run[target] for run in runs if run.get(target)]
        if kept:
            values = {name: [one[name] for one in kept if one.get(name) is not None] for name in _SURFACES}
            means = {name: float(np.mean(found)) if found else float("nan") for name, found in values.items()}
            yield SurfaceMeans(target, design, partner, len(kept), **means)

    # --- curves, costs, missing runs ------------------------------------------------------------------------------

    def curves(self) -> Iterator[Curve]:
        """Learning curves of the single-task runs and of the pairs, mean over seeds."""
        for target, keys in self._description["singles"].items():
            yield from self._curve(target, "single", keys)
        for row in self._rows("pairwise"):
            yield from self._curve(row.target, row.partner, row.treated)

    def _curve(self, target: str, partner: str, keys: Sequence[str]) -> Iterator[Curve]:
        metric = self._heads[target].primary_metric
        curves = [self._results[key].result["curve"] for key in keys if key in self._results]
        if curves:
            values = np.array([[point["dev"][target][metric] for point in curve] for curve in curves], dtype=float)
            updates = tuple(int(point["updates"][target]) for point in curves[0])
            sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
            yield Curve(target, partner, updates, tuple(values.mean(axis=0).tolist()), tuple(sd.tolist()))

    def costs(self) -> Iterator[Cost]:
        """The cost of each finished run."""
        for key, run in self._description["runs"].items():
            if key in self._results and key not in self._folds:
                result = self._results[key].result
                reused = result["study"] != self._description["study"]
                yield Cost(run["name"], key, run["designs"][0], **result["cost"], reused=reused)

    def trained_on(self) -> Iterator[TrainedOn]:
        """The code and the machines of the finished runs; empty fields if the runs did not record them."""
        keys = [key for key in self._description["runs"] if key in self._results and key not in self._folds]
        results = [self._results[key].result for key in keys]
        names = ("version.biomtl", "git.biomtl.commit", "git.biomtl.dirty", "machine.device", "machine.threads")
        found = Counter(tuple(result.get("versions", {}).get(name, "") for name in names) for result in results)
        for values, number in found.items():
            version, commit, dirty, device, threads = values
            yield TrainedOn(version, commit, dirty == "true", device, threads, number)

    def outside_share(self) -> float:
        """The share of the workers' time that was neither training nor evaluation.

        Time is counted from the start of a command, before planning, until the last run is in MLflow. The report and
        commands that were killed are not counted.
        """
        sessions = self._description["sessions"]
        whole = sum(session["seconds"] * session["workers"] for session in sessions)
        return 1 - sum(session["busy_seconds"] for session in sessions) / whole if whole else 0.0

    def missing(self) -> Iterator[str]:
        """Sentences that say which gains lack which seeds, and why."""
        reported: set[str] = set()
        for design in dict.fromkeys(one[0] for one in self._description["comparisons"]):
            for row in self._rows(design):
                lacking = {
                    key: seed
                    for keys in (row.treated, row.reference)
                    for key, seed, score in zip(keys, self._seeds, self._scores(row.target, keys), strict=True)
                    if np.isnan(score)
                }
                reported.update(lacking)
                if lacking:
                    seeds = sorted(set(lacking.values()))
                    noun = "seed" if len(seeds) == 1 else "seeds"
                    which = f"{row.target} with {row.partner} lacks {noun} {', '.join(map(str, seeds))}"
                    yield f"{design}: {which}: {self._reasons(lacking, row.target)}"
        for target, keys in self._description["singles"].items():
            for key, score in zip(keys, self._scores(target, keys), strict=True):
                if np.isnan(score) and key not in reported:
                    yield f"single: {self._reasons([key], target)}"

    def _reasons(self, keys: Iterable[str], target: str) -> str:
        """Why runs have no score, in a sentence; runs that have not been run are listed together."""
        found = dict.fromkeys(self._reason(key, target) for key in keys)
        others = [reason for reason in found if not reason.endswith(_NOT_RUN)]
        not_run = [reason.removesuffix(_NOT_RUN) for reason in found if reason.endswith(_NOT_RUN)]
        verb = "has" if len(not_run) == 1 else "have"
        if len(not_run) > 2:
            not_run = [not_run[0], f"{len(not_run) - 1} others"]
        return "; ".join([*others, *([f"{' and '.join(not_run)} {verb} not been run"] if not_run else [])]) + "."

    def _reason(self, key: str, target: str) -> str:
        if key in self._folds:
            lacking = [one for one in self._folds[key] if one not in self._results]
            failed = [one for one in lacking if one in self._description["failures"]]
            key = next(iter([*failed, *lacking]), key)
        run = self._description["runs"][key]
        name, error = run["name"], self._description["failures"].get(key)
        if key in self._results:
            return f"the test {self.targets[target].metric} of '{name}' is undefined"
        if error is None and run.get("source") in self._description["failures"]:
            return self._reason(run["source"], target)
        return f"'{name}'{_NOT_RUN}" if error is None else f"'{name}' failed: {error.splitlines()[0].rstrip('.')}"

    # --- grouping -------------------------------------------------------------------------------------------------

    def grouping(self, families: Sequence[Family]) -> Grouping | None:
        """The best groups predicted from the pairs, with the measured gains if they have been trained."""
        pairs = next((family for family in families if family.design == "pairwise"), None)
        names = list(self.targets)
        if pairs is None or not 2 <= len(names) <= MAX_TASKS or any(np.isnan(g.cell.mean) for g in pairs.gains):
            return None
        gains = np.zeros((len(names), len(names)))
        for gain in pairs.gains:
            gains[names.index(gain.target), names.index(gain.partner)] = gain.cell.mean
        best = best_grouping(gains, self._description["max_encoders"])
        groups = tuple(tuple(names[task] for task in group) for group in best.groups)
        verified = self._description["proposal"] == [list(group) for group in groups]
        trained = {
            (gain.target, gain.partner): gain.cell
            for family in families
            for gain in (family.gains if family.design == "groups" else ())
        }
        wanted = {
            task: (task, " + ".join(partner for partner in group if partner != task))
            for group in groups
            for task in (group if len(group) > 1 else ())
        }
        found = {task: trained[place] for task, place in wanted.items() if place in trained}
        alone = {group[0]: 0.0 for group in groups if len(group) == 1}
        is_measured = len(found) == len(wanted) and (verified or bool(wanted))
        return Grouping(
            self._description["max_encoders"],
            groups,
            dict(zip(names, best.predicted_gains, strict=True)),
            best.predicted_total,
            sum(facts.updates for facts in self.targets.values()),
            {**{task: cell.mean for task, cell in found.items()}, **alone} if is_measured else None,
            {task: cell.interval for task, cell in found.items()},
        )


def _predictor(found: Sequence[Any] | None) -> tuple[str, float] | None:
    """The name and score of a trivial predictor."""
    return None if found is None else (str(found[0]), float(found[1]))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


@cache
def _smallest_gain(num_seeds: int, cells: int, alpha: float) -> float:
    """The minimum detectable gain, in standard deviations of the difference."""
    return smallest_gain(1.0, num_seeds, alpha=alpha, cells=cells)

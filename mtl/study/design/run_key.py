"""The spec of each run of a study, with its key: a hash of everything that decides the run's result.

Settings and data enter the key in `RunSpecs`, code in `study_code`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch

from heads import Head, SpanRow
from mtl.config.mixture import Mixture, PermuteSpec, SamplerSpec, TaskSpec
from mtl.data.examples import TaskData
from mtl.data.store import content_key
from mtl.encoder.location import encoder_identity
from mtl.study.design.run_settings import RunSettings
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import REPLICATE, SHUFFLED, Comparison, Run, original
from mtl.study.design.study_code import StudyCode
from mtl.study.design.study_file import Study
from mtl.study.design.study_spec import StudySpec
from mtl.training.precision import natural_precision

_IDENTIFIED = {"name", "revision", "weights", "tokenizer"}
"""Fields of an encoder that are part of its identity, which is independent of paths."""


class RunSpecs:
    """Makes the specs of runs, each with its key.

    Args:
        study: The study, with the limits of its budget applied to its tasks.
        settings: Tasks, updates and optimiser of the runs.
        heads: Head of each task.
        data: Prepared data of each task.
        code: The code that decides the results.
    """

    def __init__(
        self,
        study: Study,
        settings: RunSettings,
        heads: Mapping[str, Head],
        data: Mapping[str, TaskData],
        code: StudyCode,
    ) -> None:
        self._study, self._settings, self._heads, self._data = study, settings, heads, data
        self._code = code
        self._trainer = resolved_trainer(study.spec)
        self._identity = cache(encoder_identity)
        self._made: dict[Run, RunSpec] = {}

    def of(self, runs: Sequence[Run], compared: Sequence[Comparison]) -> list[RunSpec]:
        """The specs of runs, sources first, labelled with the designs that compare them."""
        designs: dict[Run, dict[str, None]] = {}
        for one in compared:
            for run in (*one.treated.chain(), *one.reference.chain()):
                designs.setdefault(run, {})[one.design] = None
        sources = {run.source for run in runs}
        return [self._run_spec(run, tuple(designs.get(run, {"single": None})), run in sources) for run in runs]

    def _run_spec(self, run: Run, designs: tuple[str, ...], is_source: bool) -> RunSpec:
        if run.evaluates:
            return self._evaluation(run, designs)
        mixture = self._mixture(run)
        spec = self._study.spec
        whole = replace(run, data="") if spec.split else run  # a baseline has one run in each fold
        is_single = whole == Run(run.tasks[:1], run.seed) and run.seed < REPLICATE
        run_spec = RunSpec(
            key="",
            configuration="",
            name=str(run),
            trains=run.trains,
            tasks=run.tasks,
            targets=tuple(task for task in run.tasks if original(task) == task),
            seed=run.seed,
            designs=("single",) if is_single else designs,
            mixture=mixture.to_dict(),
            evaluations=spec.budget.evaluations,
            select=spec.select,
            model=asdict(self._settings.model(run.tasks, run.stage)),
            trainer=self._trainer,
            known_tokens=self._known_tokens(run),
            source=self._made[run.source].key if run.source else None,
            keeps_heads=run.keeps_heads,
            keeps_encoder=is_source,
        )
        configuration = content_key(self._configuration(run, run_spec))
        key = content_key(configuration, run_spec.source, self._code.key_of(run.tasks))
        self._made[run] = replace(run_spec, key=key, configuration=configuration)
        return self._made[run]

    def _evaluation(self, run: Run, designs: tuple[str, ...]) -> RunSpec:
        """The spec of a run that tests its source; of the target, only the rows of test are part of its key."""
        assert run.source is not None, "there is nothing to test"
        source, base = self._made[run.source], self._study.mixture
        (name,), (target,) = run.source.tasks, run.tasks
        spec = base.tasks[name].model_copy(update={"data": base.tasks[target].data})
        run_spec = replace(
            source,
            name=str(run),
            trains=run.trains,
            tasks=run.tasks,
            targets=run.tasks,
            designs=designs,
            mixture={**source.mixture, "tasks": {name: spec.model_dump(mode="json")}},
            known_tokens=self._known_tokens(run),
            source=source.key,
            keeps_encoder=False,
            evaluates=True,
        )
        rows = self._data[target]["test"].row_summary.fingerprint
        configuration = content_key({"tests": source.configuration, "target": target, "rows": rows})
        key = content_key(configuration, source.key, self._code.key_of(run.source.tasks, evaluates=True))
        self._made[run] = replace(run_spec, key=key, configuration=configuration)
        return self._made[run]

    def _mixture(self, run: Run) -> Mixture:
        base = self._settings.mixture(run)
        names = sorted(run.tasks)  # sorted, because their order affects the schedule but is in no key
        tasks = {
            name: self._permuted(name) if name.endswith(SHUFFLED) else base.tasks[original(name)] for name in names
        }
        quota = {task: self._settings.per_evaluation(original(task), run.stage, run.data) for task in names}
        sampler = SamplerSpec.model_validate({"name": "quota", "batches": quota})
        curriculum = base.only(list(dict.fromkeys(map(original, names)))).curriculum
        return base.model_copy(
            update={"name": "run", "tasks": tasks, "sampler": sampler, "seed": run.seed, "curriculum": curriculum}
        )

    def _permuted(self, copy: str) -> TaskSpec:
        """The task with what its head predicts shuffled in train: labels, relations, mentions or their attribute."""
        task = original(copy)
        spec, head = self._study.mixture.tasks[task], self._heads[task]
        rows = (row for row in self._data[task]["train"].rows if isinstance(row, SpanRow) and row.entities)
        example = next(rows, None)
        predicts_mentions = example is not None and not getattr(head.without_gold(example), "entities", ())
        seed = self._study.spec.budget.sample_seed
        if head.labelling is None:
            permute = PermuteSpec(seed=seed, mentions=predicts_mentions)
        else:
            permute = PermuteSpec(seed=seed, attribute=head.labelling.attribute)
        return spec.model_copy(update={"data": spec.data.model_copy(update={"permute": permute})})

    def _known_tokens(self, run: Run) -> tuple[str, ...]:
        if run.source is None:
            return ()
        own = [token for task in sorted(run.source.tasks) for token in self._heads[original(task)].special_tokens()]
        return tuple(dict.fromkeys([*self._known_tokens(run.source), *own]))

    def _configuration(self, run: Run, run_spec: RunSpec) -> dict[str, Any]:
        """Everything except code that decides the result, without paths, display names or the launcher.

        A setting of None is the same as a missing one, so that a new optional setting changes no key.
        """
        spec = self._settings.mixture(run).encoder
        encoder = spec.model_dump(mode="json", exclude=_IDENTIFIED, exclude_none=True)
        curriculum = run_spec.mixture["curriculum"]
        return {
            **({"curriculum": curriculum} if curriculum else {}),
            "tasks": {name: self._task(run, name, fields) for name, fields in run_spec.mixture["tasks"].items()},
            "sampler": run_spec.mixture["sampler"],
            "balancing": self._study.mixture.balancing.options,
            "encoder": {**encoder, "weights": self._identity(spec)},
            "seed": run.seed,
            "source": self._made[run.source].configuration if run.source else None,
            "keeps_heads": run_spec.keeps_heads,
            "evaluations": run_spec.evaluations,
            "select": run_spec.select,
            "model": _not_none(run_spec.model),
            "trainer": _not_none(run_spec.trainer),
        }

    def _task(self, run: Run, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a task, with resolved values, because the code that resolves them is in no key."""
        mixture, task = self._settings.mixture(run), original(name)
        settings = {key: value for key, value in _not_none(fields).items() if key not in ("head", "data")}
        variant, rows = name.removeprefix(task), self._settings.data(run.data)[task]
        return {
            **settings,
            "options": mixture.tasks[task].head_options,
            "batch_size": mixture.batch_size_of(task),
            "tokens_per_batch": mixture.tokens_per_batch_of(task),
            "max_length": mixture.max_length_of(task),
            "rows": {split: content.row_summary.fingerprint for split, content in rows.items()},
            "variant": variant,
            "permuted": _not_none(fields["data"]["permute"]) if variant == SHUFFLED else None,
        }


def _not_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def resolved_trainer(spec: StudySpec) -> dict[str, Any]:
    """The options of the trainer, with the device and precision resolved for this machine."""
    has_gpu = torch.cuda.is_available() and spec.trainer.accelerator in ("auto", "gpu", "cuda")
    accelerator = "cuda" if has_gpu else "cpu" if spec.trainer.accelerator == "auto" else spec.trainer.accelerator
    precision: str = spec.trainer.precision
    if precision == "auto":
        precision = natural_precision("cuda") if has_gpu else "32-true"
    return {**spec.trainer.model_dump(), "accelerator": accelerator, "precision": precision}

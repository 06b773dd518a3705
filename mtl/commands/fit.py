"""`mtl fit`, `validate` and `test`: the Lightning CLI for a mixture and the folder of a run."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mtl import redaction
from mtl.batching.gated_data import GatedData
from mtl.batching.passes import default_length
from mtl.batching.schedule import UpdateGrid, limited, make_schedule, planned_updates
from mtl.commands import COMMANDS
from mtl.commands.arguments import take_mixture
from mtl.commands.fit_options import TRAINER_DEFAULTS, EarlyStoppingOptions, RunOptions, add_options, check_trainer
from mtl.config.curriculum import end_problems
from mtl.config.encoder_catalogue import entry_reasons
from mtl.config.mixture import Mixture
from mtl.config.schema import checked
from mtl.distributed import is_rank_zero
from mtl.encoder.families import padding_reasons
from mtl.encoder.location import start_reasons
from mtl.evaluation.resampling_units import unit_problems
from mtl.log_filters import filter_logs
from mtl.messages import say
from mtl.prediction.end_to_end import EndToEnd
from mtl.problems import InputError, Problem
from mtl.samplers import require_positive
from mtl.tracking.checkpoint_folder import LAST
from mtl.tracking.live_runs import take
from mtl.tracking.resuming import agreed, fresh_start, newest_last
from mtl.tracking.run_folder import RunFolder
from mtl.tracking.tracker import MLflowTracker
from mtl.training.assembly import build_data
from mtl.training.checkpoints import changed_data, changed_updates, check_checkpoint, checkpoint_precision
from mtl.training.default_module import build_default_module
from mtl.training.early_stopping import early_stopping
from mtl.training.guard import Guard
from mtl.training.learning_rates import rate_reason
from mtl.training.module import MultiTaskModule
from mtl.training.precision import agreed_precision
from mtl.training.profiling import StepProfile, phases
from mtl.training.progress import ProgressLines
from mtl.training.recorder import RunRecorder
from mtl.training.run_watch import RunWatch
from mtl.training.saving import LastCheckpoint, checkpoint_callbacks
from mtl.training.shown_metrics import main_metrics, metrics_of_interest
from mtl.training.signals import StopOnSignal, StopSignals

AUTO = "auto"
"""Value of `--ckpt_path`: resume from the newest `last` of the mixture and seed if there is one."""

LISTED = 5
"""Maximum number of lines about leakage."""

_EVALUATED = (
    "Checkpoint to evaluate: `best`, `best:TASK` or `last` of the newest run of the mixture, or a path; `best` if"
    " omitted."
)
CHECKPOINT_HELP = {
    "fit": "Checkpoint to resume from: `last` of the newest run of the mixture; `auto` for the newest `last` of the"
    " mixture and seed, or a new run if there is none; or the path of a run or of a checkpoint. If omitted, a new"
    " run starts.",
    "validate": _EVALUATED,
    "test": _EVALUATED,
}


class _Parser(LightningArgumentParser):
    """Lightning's parser, whose errors quote no text of a config file: it may be a note that was given by mistake."""

    config_texts: Sequence[str] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        super().error(redaction.without(message, self.config_texts), ex)


class MixtureCLI(LightningCLI):
    """Lightning's command line, with a mixture instead of a model class and a data class."""

    def __init__(self, mixture: Mixture, arguments: Sequence[str], words: Sequence[str], signals: StopSignals) -> None:
        self.mixture = mixture
        self._signals = signals
        self._words = words  # as the user wrote them
        self._config_texts = _config_texts(arguments)
        self._chosen: dict[str, str] = {}  # settings that were chosen, or could have been, with their reasons
        super().__init__(
            MultiTaskModule,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=False,
            args=list(arguments),
            parser_class=_Parser,
            parser_kwargs={"allow_abbrev": False},  # otherwise a misspelt option could match another one
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = super().init_parser(**kwargs)
        cast(Any, parser).config_texts = self._config_texts
        return parser

    @staticmethod
    def add_core_arguments_to_parser(parser: LightningArgumentParser) -> None:
        add_options(parser)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        # `weights_only` could let a checkpoint run code.
        skipped = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule", "weights_only"}
        return {"fit": skipped, "validate": skipped | {"verbose"}, "test": skipped | {"verbose"}}

    def setup_parser(self, *arguments: Any) -> None:
        super().setup_parser(*arguments)
        for command, parser in self._subcommand_parsers.items():
            parser.prog = f"mtl {command}"
            parser.description = f"{COMMANDS[command][1]} Options can also be given in a file: --config FILE."
            # Lightning describes checkpoints that our runs do not have.
            (group,) = (
                group for group in parser._action_groups if "ckpt_path" in {a.dest for a in group._group_actions}
            )
            group.title = "checkpoint"
            group._group_actions[0].help = CHECKPOINT_HELP[command]

    # Lightning calls these instead of the methods of the trainer, and the `after_` ones once its progress bar has
    # closed. Our table replaces Lightning's list of all metrics, which are in `metrics.json`.

    def fit(self, **arguments: Any) -> None:
        if self.trainer.is_global_zero:
            print(_setup(self.trainer, self.folder))
            for key, reason in self._chosen.items():
                print(f"{key} {reason}")
        try:
            with self._watched():
                self.trainer.fit(**arguments)
        except FloatingPointError as error:
            if self.trainer.is_global_zero:
                print(f"mtl: {redaction.reason(error)}", file=sys.stderr)
            sys.exit(1)
        except (SystemExit, SIGTERMException):  # Lightning turns Ctrl-C into SystemExit
            if self.trainer.is_global_zero:
                received = self._signals.received
                reason = "Ctrl-C" if received is None else received.name
                self.recorder.end("KILLED", reason)  # if the signal came before the trainer could record it
                self.folder.update_info(reason=reason)
                print(f"mtl: {_how_to_resume(self.folder, self._words)}", file=sys.stderr)
            sys.exit(1)  # after SIGTERM Lightning would exit with 0, as if the run had finished

    def validate(self, **arguments: Any) -> None:
        with self._watched():
            self.trainer.validate(**arguments, verbose=False)

    def test(self, **arguments: Any) -> None:
        with self._watched():
            self.trainer.test(**arguments, verbose=False)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A context around the work of the trainer."""
        with self.model.memory.problems(), RunWatch(self.trainer, self._signals, self.recorder):
            yield

    def after_fit(self) -> None:
        self.recorder.show()

    def after_validate(self) -> None:
        self.recorder.show()

    def after_test(self) -> None:
        self.recorder.show()

    def _parse_ckpt_path(self) -> None:
        """Skips Lightning's search for hyperparameters: ours have none, and the file may not be a checkpoint."""

    def instantiate_classes(self) -> None:
        assert self.subcommand is not None
        config = self.config[self.subcommand]
        options = RunOptions(**config.run.as_dict())
        require_positive(
            {"run.save_every": options.save_every, "run.save_minutes": options.save_minutes, "run.keep": options.keep}
        )
        # The folder comes last, so that a run with invalid data or options leaves none and never becomes the latest.
        self.datamodule = build_data(self.mixture, refuses_leakage=self.subcommand == "fit")
        self.datamodule.setup()
        if problems := unit_problems(self.datamodule.tasks, self.mixture.evaluation.unit):
            raise InputError(problems)
        _warn_of_leakage(self.datamodule)
        self._end_to_end = _end_to_end(options, self.subcommand, self.datamodule)
        follows_last = self.subcommand == "fit" and config.ckpt_path in (AUTO, LAST)
        if self.subcommand == "fit" and config.ckpt_path == AUTO:
            chosen = agreed(lambda: newest_last(options.folder(), self.mixture.name, self.mixture.seed))
            config.ckpt_path = AUTO if chosen is None else str(chosen)
            say("No checkpoint to resume from; starting a new run." if chosen is None else f"Resuming from {chosen}.")
        is_new = self.subcommand == "fit" and config.ckpt_path in (None, AUTO)
        if self.subcommand == "fit":
            self._choose_length(config.trainer)
        is_free = config.trainer.precision is None
        if is_free:
            config.trainer.precision = agreed_precision(config.trainer.accelerator, config.trainer.num_nodes)
        self.config_init = self.parser.instantiate_classes(self.config)
        check_trainer(self.config_init[self.subcommand].trainer.as_dict(), trains=self.subcommand == "fit")
        guard = checked(Guard, config.guard.as_dict(), "guard")
        built = self.datamodule.heads, self.datamodule.tokenizer
        model = config.model.as_dict()
        self.model = build_default_module(self.mixture, weights=is_new, guard=guard, built=built, **model)
        stopping = EarlyStoppingOptions(**config.early_stopping.as_dict())
        if self.subcommand == "fit":
            rate, spec, encoder = config.model.learning_rate, self.mixture.encoder, self.model.encoder
            self._chosen |= {**entry_reasons(spec), **start_reasons(spec)}
            self._chosen |= padding_reasons(spec, encoder.config, packs=encoder.packs)
            self._chosen["model.learning_rate"] = rate_reason(rate, encoder.config.hidden_size, spec.name)
            for name in ("learning_rate", "head_learning_rate"):  # for the record of the run
                config.model[name] = getattr(self.model.optimisation, name)
            self._check_options(stopping, guard)
        folder, checkpoint = self._place(options, config.ckpt_path)
        self.folder = folder
        config.ckpt_path = self.config_init[self.subcommand].ckpt_path = None if checkpoint is None else str(checkpoint)
        if checkpoint is not None and is_free:
            config.trainer.precision = checkpoint_precision(checkpoint)
            self.config_init[self.subcommand].trainer.precision = config.trainer.precision
            check_trainer(self.config_init[self.subcommand].trainer.as_dict(), trains=self.subcommand == "fit")
        if self.subcommand == "fit":
            if checkpoint is not None and is_rank_zero():
                RunFolder.end_dead(options.folder())
            take(folder)  # only now, because a refusal must not change the status of the run
            if checkpoint is not None and follows_last:
                self._follow(folder, checkpoint)
        with _ended_by_errors(folder) if self.subcommand == "fit" else nullcontext():
            self._prepare(folder, options, stopping)

    def _prepare(self, folder: RunFolder, options: RunOptions, stopping: EarlyStoppingOptions) -> None:
        """Says where predictions go, and makes the trainer."""
        # Scores on seen and unseen mentions, and of groups, are computed from the predictions of an evaluation.
        finds_mentions = any(head.mention_types for head in self.datamodule.heads.values())
        is_divided = finds_mentions or bool(self.mixture.evaluation.groups)
        saves = options.predictions or (self.subcommand != "fit" and is_divided)
        self.model.predictions_folder = folder.path / "predictions" if saves else None
        self.model.predictions_with_text = self.mixture.privacy.log_text
        self.trainer = self._make_trainer(folder, options, stopping)

    def _choose_length(self, trainer: Any) -> None:
        """Sets the default number of epochs, unless the training has a length of its own.

        Raises:
            InputError: No batch is left, or the training ends before a change of the curriculum.
        """
        schedule = make_schedule(self.mixture, self.datamodule.tasks, 1)
        num_steps = limited(schedule.steps_per_epoch(), trainer.limit_train_batches)
        if trainer.max_epochs is None and trainer.max_steps < 0:
            length = default_length(schedule)
            trainer.max_epochs = length.epochs
            self._chosen["trainer.max_epochs"] = f"{length.epochs} ({length.reason})"
        accumulate = trainer.accumulate_grad_batches
        self._updates = UpdateGrid(-(-num_steps // accumulate), accumulate)
        self._total_updates = planned_updates(self._updates.per_epoch, trainer.max_epochs, trainer.max_steps)
        if problems := end_problems(self.mixture, self._total_updates):
            raise InputError(problems)

    def _check_options(self, stopping: EarlyStoppingOptions, guard: Guard) -> None:
        """Checks that the balancing method and the guard work with the options of the training.

        Raises:
            InputError: It does not.
        """
        trainer = self.config_init[self.subcommand].trainer
        problems = self.model.balancing.training_problems(
            accumulate=trainer.accumulate_grad_batches,
            precision=str(trainer.precision),
            stops_tasks=stopping.patience is not None and stopping.per_task,
        )
        problems += guard.problems(str(trainer.precision))
        if problems:
            raise InputError(problems)

    def _place(self, options: RunOptions, ckpt_path: str | None) -> tuple[RunFolder, Path | None]:
        """The folder and the checkpoint of the run: a new run has no checkpoint, a resumed or evaluated one does."""
        root = options.folder()
        trains = self.subcommand == "fit"
        if trains and ckpt_path in (None, AUTO):
            name, seed = self.mixture.name, self.mixture.seed
            is_new = ckpt_path is None
            folder = RunFolder.create(root, name, seed) if is_new else fresh_start(root, name, seed, self._recorded())
            return folder, None
        checkpoint = agreed(lambda: _find_checkpoint(ckpt_path or "best", root, self.mixture.name, trains=trains))
        assert checkpoint is not None
        folder = RunFolder.open(checkpoint)
        check_checkpoint(checkpoint, self.mixture, resumes=self.model.optimisation if trains else None)
        if trains:
            self._check_data(checkpoint)
        return folder, checkpoint

    def _follow(self, folder: RunFolder, checkpoint: Path) -> None:
        """Resumes from a newer `last` if the process that trained the run has saved one before it ended."""
        newest = agreed(folder.saved.last)
        if newest is None or newest == checkpoint:
            return
        say(f"Resuming from {newest}, which is newer.")
        check_checkpoint(newest, self.mixture, resumes=self.model.optimisation)
        self._check_data(newest)
        self.config[self.subcommand].ckpt_path = self.config_init[self.subcommand].ckpt_path = str(newest)

    def _check_data(self, checkpoint: Path) -> None:
        """Checks that data and updates are those of the training that is resumed.

        Changes of dev and test are only reported.

        Raises:
            InputError: Rows of train have changed, or updates follow each other otherwise.
        """
        tasks = self.datamodule.tasks
        if problems := changed_updates(checkpoint, self.mixture, tasks, self._updates, self._total_updates):
            raise InputError(problems)
        changed = changed_data(checkpoint, self.datamodule.fingerprints())
        if "train" in changed:
            raise InputError(changed["train"])
        for problem in itertools.chain.from_iterable(changed.values()):
            say(f"{problem} Scores before and after it cannot be compared.")

    def _recorded(self) -> dict[str, Any]:
        """The resolved configuration as plain values, as `config.yaml` records it."""
        recorded = {**self.config[self.subcommand].clone(with_meta=False).as_dict(), "mixture": self.mixture.to_dict()}
        recorded.pop("config", None)
        return cast("dict[str, Any]", json.loads(json.dumps(recorded, default=str)))  # callbacks may take any type

    def _make_trainer(self, folder: RunFolder, options: RunOptions, stopping: EarlyStoppingOptions) -> pl.Trainer:
        config = self.config_init[self.subcommand].trainer
        # The user's loggers are added to MLflow; `--trainer.logger false` means no logger at all, as in Lightning.
        tracker = self._tracker(folder, options) if config.logger is not False and options.track else None
        if self._chosen:
            folder.update_info(chosen=self._chosen)
        if config.enable_progress_bar is None and not sys.stderr.isatty():
            config.enable_progress_bar = False  # a bar in a log file is one endless line
        says = say if config.enable_progress_bar is False else None
        self.recorder = RunRecorder(
            folder,
            tracker,
            self._recorded(),
            baselines=options.baselines,
            frozen=options.frozen,
            predictions=options.predictions,
            says=says,
        )
        # It adds to the results that the recorder then records.
        callbacks: list[Any] = []
        if self._end_to_end is not None:
            self._end_to_end.folder = folder
            callbacks.append(self._end_to_end)
        callbacks.append(self.recorder)
        saving: list[Any] = []
        if self.subcommand == "fit" and config.enable_checkpointing is not False:
            saving = checkpoint_callbacks(
                folder,
                self.mixture.trained(),
                save_every=options.save_every,
                save_minutes=options.save_minutes,
                keep=options.keep,
                best_per_task=options.best_per_task,
            )
        last = next((callback for callback in saving if isinstance(callback, LastCheckpoint)), None)
        callbacks += [*saving, StopOnSignal(self._signals, last)]
        callbacks += early_stopping(**dataclasses.asdict(stopping))
        if says is not None:
            callbacks.append(ProgressLines(says))
        loggers = [] if config.logger in (None, True, False) else _listed(config.logger)
        arguments = {**config.as_dict(), "logger": [*filter(None, [tracker]), *loggers] or False}
        if len(self.mixture.trained()) < len(self.mixture.tasks):
            arguments["num_sanity_val_steps"] = -1  # what the tasks that are kept score before the training
        if options.profile and self.subcommand == "fit":
            callbacks.append(StepProfile(folder))
            arguments["profiler"] = config.profiler or phases(folder)
        return pl.Trainer(**{**arguments, "callbacks": [*_listed(config.callbacks), *callbacks]})

    def _tracker(self, folder: RunFolder, options: RunOptions) -> MLflowTracker:
        info, everything = folder.info, options.metrics == "all"
        tasks = self.mixture.tasks
        shown = {
            task: metrics_of_interest(head, tasks[task].head_options) for task, head in self.datamodule.heads.items()
        }
        return MLflowTracker(
            folder,
            experiment=options.experiment,
            run_name=f"{self.mixture.name}-s{self.mixture.seed}",
            run_id=info.get("mlflow", {}).get("run_id"),
            tags={"mixture": self.mixture.name, "seed": str(self.mixture.seed)},
            sends=None if everything else main_metrics(shown),
            samples_load=everything,
        )


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl fit|validate|test` with these arguments.

    Raises:
        InputError: The mixture, its data or a checkpoint is invalid.
    """
    mixture, rest = take_mixture(arguments[1:])
    asks_help = any(argument in ("--help", "-h") or argument.startswith("--help") for argument in rest)
    if mixture is None and not asks_help:
        raise InputError(
            Problem("--mixture", "A mixture is required.", "Name its file, or a config file that names one.")
        )
    filter_logs()
    with StopSignals() as signals:
        try:
            MixtureCLI(mixture, [arguments[0], *rest], arguments, signals)  # type: ignore[arg-type]  # None: only --help
        except SIGTERMException:
            sys.exit(1)  # before the training, or during an evaluation


@contextmanager
def _ended_by_errors(folder: RunFolder) -> Iterator[None]:
    """A context after whose errors a run does not stay RUNNING."""
    try:
        yield
    except BaseException as error:
        if is_rank_zero():
            is_stopped = isinstance(error, KeyboardInterrupt | SystemExit | SIGTERMException)
            folder.end("KILLED" if is_stopped else "FAILED", f"The training did not begin: {type(error).__name__}.")
        raise


def _end_to_end(options: RunOptions, command: str, data: GatedData) -> EndToEnd | None:
    """What scores relations between predicted mentions, if that is asked for."""
    if not options.end_to_end:
        return None
    if command != "test":
        raise InputError(Problem("--end-to-end", f"is an option of mtl test, got mtl {command}."))
    return EndToEnd(data, options.mentions)


def _setup(trainer: pl.Trainer, folder: RunFolder) -> str:
    """A line with the settings that decide the speed of the run, and its folder."""
    threads = torch.get_num_threads()
    spins = f" after {os.environ['GOMP_SPINCOUNT']} spins" if "GOMP_SPINCOUNT" in os.environ else ""
    waiting = f"OpenMP waits {'passively' if os.environ.get('OMP_WAIT_POLICY') == 'passive' else 'by spinning'}{spins}"
    where = f"{trainer.num_devices} x {trainer.strategy.root_device.type} in {trainer.precision}"
    return f"Training on {where}, {threads} of {os.cpu_count()} threads, {waiting}: {folder.path}"


def _warn_of_leakage(data: GatedData) -> None:
    """Prints what dev and test share with train, as counts."""
    if data.leakage is None or not is_rank_zero():
        return
    notes = [f"{task}: {note}" for task in data.mixture.tasks for note in data.leakage.notes_of(task)]
    for note in notes[:LISTED]:
        print(f"mtl: leakage: {note}", file=sys.stderr)
    if len(notes) > LISTED:
        print(f"mtl: leakage: {len(notes) - LISTED} more; `mtl check` lists them.", file=sys.stderr)


def _how_to_resume(folder: RunFolder, words: Sequence[str]) -> str:
    """The message of an interrupted run: how to resume it."""
    if not folder.saved.files("last"):
        return (
            f"Interrupted before the first checkpoint, so the run in {folder.path} cannot be resumed. "
            "Use --run.save_every N to save a checkpoint every N updates."
        )
    # By path: the name `last` refers to the newest run of the mixture, which may have another seed.
    command = shlex.join(["mtl", *_without_checkpoint(words), "--ckpt_path", str(folder.path)])
    return f"Interrupted. The run is in {folder.path}; resume it with: {command}"


def _without_checkpoint(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--ckpt_path":
            next(rest, None)  # its value
        elif not word.startswith("--ckpt_path="):
            kept.append(word)
    return kept


def _find_checkpoint(name: str, root: Path, mixture_name: str, *, trains: bool) -> Path:
    """The file of a checkpoint.

    Args:
        name: `last`, `best`, `best:TASK`, or the path of a checkpoint or of a run.
        root: Folder of all runs.
        mixture_name: Name of the mixture, whose newest run is meant if `name` is not a path.
        trains: Whether a training resumes from it; the path of a run then means its `last`, otherwise its `best`.

    Raises:
        InputError: There is no such checkpoint, or it is damaged.
    """
    if not name.endswith(".ckpt") and "/" not in name:
        try:
            return RunFolder.latest(root, mixture_name).resolve_checkpoint(name)
        except InputError as error:
            if name != "last":
                raise
            advice = f"Use --ckpt_path {AUTO}, which starts a new run if this mixture and seed have none."
            problem = Problem("--ckpt_path", f"'{name}' requires a checkpoint.", advice)
            raise InputError([*error.problems, problem]) from error
    path = Path(name)
    # A name of an earlier version, or of a checkpoint that is no longer kept, is found by the run that it lies in.
    folder = RunFolder.open(path.parent if path.parent.name == "checkpoints" else path)
    return folder.resolve_checkpoint(("last" if trains else "best") if path.is_dir() else name)


def _config_texts(arguments: Sequence[str]) -> list[str]:
    """The texts of the config files among the arguments of Lightning's parser, which are given as JSON."""
    after = [value for name, value in itertools.pairwise(arguments) if name == "--config"]
    return [text for value in after for text in redaction.strings(json.loads(value))]


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list) else [callbacks]

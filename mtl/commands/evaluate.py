"""`mtl evaluate`: scores a task of a finished run on another corpus of the same type."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from mtl.commands.arguments import add_import_option, import_modules, trainer_options, with_json_errors
from mtl.commands.score_notes import variant_notes
from mtl.log_filters import filter_logs
from mtl.markdown import MISSING
from mtl.prediction.cross_evaluation import CrossScores, evaluate_on
from mtl.prediction.finished_run import FinishedRun
from mtl.prediction.other_corpus import other_corpus, parse_names
from mtl.readers import SPLITS
from mtl.suites.suite_tasks import suite_task, variants_of_task

DESCRIPTION = """Scores a task of a finished run on another corpus of the same type, next to trivial predictors fitted
on the training data of the run. The scores of the run on its own test set stay as they are; these are kept in
on/CORPUS in its folder, and in MLflow."""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl evaluate RUN --task T --on DATA [--split test] [--map THEIRS=OURS…] [--json]`.

    Raises:
        InputError: There is no such run, task or corpus, or the corpus does not fit the task.
    """
    trainer, rest = trainer_options(arguments[1:])
    options = _parser().parse_args(rest)
    options.trainer = trainer
    import_modules(options.modules)
    filter_logs()
    return with_json_errors(_evaluate, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl evaluate", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", help="folder of a run, whose best checkpoint is scored, or a checkpoint in it")
    parser.add_argument("--task", required=True, help="name of the task")
    on_help = "corpus: a task file, a YAML file with `data`, another task of the run, or a task of a suite"
    parser.add_argument("--on", required=True, metavar="DATA", help=on_help)
    parser.add_argument("--split", default="test", choices=SPLITS, help="split of the corpus (default test)")
    map_help = "labels with other names in the corpus, such as GENE=Gene"
    parser.add_argument(
        "--map", dest="names", metavar="THEIRS=OURS", nargs="+", action="extend", default=[], help=map_help
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_import_option(parser)
    return parser


def _evaluate(options: argparse.Namespace) -> int:
    run = FinishedRun(options.run, options.trainer)
    run.require(options.task)
    corpus = other_corpus(run.mixture, options.task, options.on, parse_names(options.names), find=suite_task)
    found = evaluate_on(run, options.task, corpus, options.split)
    variants = variants_of_task(run.mixture.tasks[options.task], found.result.scores)
    if options.json:
        sys.stdout.write(json.dumps({**found.to_dict(), "variants": variants}, indent=2) + "\n")
    else:
        _print(found, variants, str(run.folder.path / "on" / corpus.name))
    return 0


def _print(found: CrossScores, variants: Mapping[str, str], place: str) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    counts = f"{found.result.num_rows} rows of {len(found.result.documents)} documents"
    console.print(f"{found.task} on {found.corpus}, {found.split}: {counts}", style="bold", markup=False)
    console.print(_table(found))
    overlap = [] if found.surfaces is None else [found.surfaces.overlap.described(found.split)]
    for note in [*variant_notes(variants), *found.shared, *overlap]:
        console.print(f"{note}", markup=False, soft_wrap=True)
    console.print(f"Kept in {place}", markup=False, soft_wrap=True)


def _table(found: CrossScores) -> Table:
    table = Table("metric", caption="trivial predictors and own test: of the corpus that the run was trained on")
    for name in ("score", "95% interval", "own test", *found.baselines):
        table.add_column(name, justify="right")
    for metric, score in found.result.scores.items():
        interval = found.intervals.get(metric)
        span = MISSING if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
        others = [found.own.get(metric), *(scores.get(metric) for scores in found.baselines.values())]
        table.add_row(metric, f"{score:.3f}", span, *(MISSING if one is None else f"{one:.3f}" for one in others))
    return table

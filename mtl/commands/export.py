"""`mtl export`: what a run has trained, as folders for transformers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mtl.commands.arguments import add_import_option, import_modules
from mtl.export.agreement import compare, texts_of
from mtl.export.hub import push, require_public
from mtl.export.hugging_face import export_encoder
from mtl.export.onnx_graph import export_graph
from mtl.export.task_model import export_tasks
from mtl.log_filters import filter_logs
from mtl.problems import InputError, Problem

DESCRIPTION = """Writes a run as Hugging Face models: tasks, or the encoder with its head for language modelling if the
run has one; each with its tokenizer and a README with the facts of the run. docs/export.md says what can be written."""


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl export RUN --task T… | --all | --encoder [--task T] | --format onnx [--task T…] --to FOLDER [options]`.

    Raises:
        InputError: An option or the run is invalid, a task has no class of transformers, or the folder has content.
    """
    options = _parser().parse_args(arguments[1:])
    tasks = options.task or []
    _check(options, tasks)
    import_modules(options.modules)
    filter_logs()
    if options.repo is not None:
        require_public(options.run, options.repo)
    if options.format == "onnx":
        _export_graph(options.run, options.to, tasks)
    elif options.encoder:
        _export_encoder(options.run, options.to, tasks)
    else:
        _export_tasks(options.run, options.to, tasks, options.compare)
    if options.repo is not None:
        print(f"Pushed to {push(options.to, options.repo)}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl export", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", help="folder of a run, whose best checkpoint is exported, or one of its checkpoints")
    parser.add_argument("--to", metavar="FOLDER", required=True, help="new or empty folder to write")
    task_help = "tasks to export, several of them to subfolders; with --encoder, the one for language modelling"
    parser.add_argument("--task", nargs="+", action="extend", help=task_help)
    parser.add_argument("--all", action="store_true", help="export every task that transformers can hold")
    parser.add_argument("--encoder", action="store_true", help="export the encoder")
    format_help = "hf: models of transformers (default); onnx: one graph with the encoder and the tasks, by default all"
    parser.add_argument("--format", choices=("hf", "onnx"), default="hf", help=f"{format_help} that can be in it")
    compare_help = "print how often `pipeline` finds what `mtl predict` finds: in dev or test, or in a file of texts"
    parser.add_argument("--compare", metavar="TEXTS", help=compare_help)
    repo_help = "also write the folder to this repository of the Hugging Face hub, unless data of the run is private"
    parser.add_argument("--repo", metavar="OWNER/NAME", help=repo_help)
    add_import_option(parser)
    return parser


def _check(options: argparse.Namespace, tasks: Sequence[str]) -> None:
    """Checks that the options fit each other.

    Raises:
        InputError: They do not.
    """
    problems = []
    is_graph = options.format == "onnx"
    is_form = options.encoder or is_graph
    if sum([options.encoder, is_graph, options.all, bool(tasks) and not is_form]) != 1:
        message = "Exactly one of --task, --all, --encoder and --format onnx is needed; the last two may have --task."
        problems.append(Problem("--task", message, "Add --task NAME, or --all."))
    if options.encoder and len(tasks) > 1:
        problems.append(Problem("--task", "must be one task with --encoder.", "Name one."))
    if is_form and options.compare:
        problems.append(Problem("--compare", "needs tasks as classes of transformers.", "Leave it out."))
    if is_graph and options.repo is not None:
        problems.append(Problem("--repo", "needs a model of transformers, got an ONNX graph.", "Leave it out."))
    elif options.repo is not None and not options.encoder and len(tasks) != 1:
        problems.append(Problem("--repo", "needs one task: a repository is one model.", "Export the tasks one by one."))
    if problems:
        raise InputError(problems)


def _export_encoder(run: str, folder: str, tasks: Sequence[str]) -> None:
    found = export_encoder(run, folder, task=next(iter(tasks), None))
    head = "" if found.language_model is None else f", with the head of '{found.language_model}'"
    print(f"Wrote {folder}: {found.model_class} from {found.checkpoint.name}{head}.")
    if found.note is not None:
        print(f"Note: {found.note}.")


def _export_tasks(run: str, folder: str, tasks: Sequence[str], source: str | None) -> None:
    texts = {} if source is None else {task: texts_of(run, task, source) for task in tasks}
    found = export_tasks(run, folder, tasks)
    for problem in found.left_out:
        print(f"Not written: {problem}")
    for one in found.written:
        print(f"Wrote {one.folder}: {one.model_class} from {found.checkpoint.name}, the task '{one.task}'.")
        if source is None:
            continue
        try:
            own = texts.get(one.task) or texts_of(run, one.task, source)
            result = compare(run, one.task, one.folder, own)
        except InputError as error:  # the others are compared nevertheless
            print(f"  not compared: {error}")
            continue
        if result is None:
            print("  not compared: it reads marked mentions.")
            continue
        print(f"  pipeline and mtl predict, texts within the maximum length: {result.within}")
        print(f"  longer texts: {result.longer}")


def _export_graph(run: str, folder: str, tasks: Sequence[str]) -> None:
    found = export_graph(run, folder, tasks=tasks)
    for problem in found.left_out:
        print(f"Not in the graph: {problem}")
    print(f"Wrote {folder}: one graph from {found.checkpoint.name} with the outputs {', '.join(found.tasks)}.")
    print(f"Its logits in onnxruntime differ from those in PyTorch by at most {found.difference:.1e}.")

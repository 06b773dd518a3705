"""`mtl export`: what a run has trained, as a folder for transformers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mtl.commands.arguments import add_import_option, import_modules
from mtl.export.hugging_face import export_encoder
from mtl.log_filters import filter_logs
from mtl.problems import InputError, Problem

DESCRIPTION = """Writes the encoder of a run as a Hugging Face model: weights, tokenizer, the head for language
modelling if the run has one, and a README with the facts of the run."""


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl export RUN --encoder --to FOLDER [--task T]`.

    Raises:
        InputError: An option or the run is invalid, or the folder has content.
    """
    parser = argparse.ArgumentParser("mtl export", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", help="folder of a run, whose best checkpoint is exported, or one of its checkpoints")
    parser.add_argument("--encoder", action="store_true", help="export the encoder (required)")
    parser.add_argument("--to", metavar="FOLDER", required=True, help="new or empty folder to write")
    parser.add_argument("--task", help="task with the head for language modelling, if the run has several")
    add_import_option(parser)
    options = parser.parse_args(arguments[1:])
    if not options.encoder:
        raise InputError(Problem("--encoder", "must be given: only encoders are exported.", "Add --encoder."))
    import_modules(options.modules)
    filter_logs()
    found = export_encoder(options.run, options.to, task=options.task)
    head = "" if found.language_model is None else f", with the head of '{found.language_model}'"
    print(f"Wrote {options.to}: {found.model_class} from {found.checkpoint.name}{head}.")
    if found.note is not None:
        print(f"Note: {found.note}.")

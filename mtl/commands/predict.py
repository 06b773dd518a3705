"""`mtl predict`: decoded predictions on texts, from and to files of several formats."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from mtl.commands.arguments import add_import_option, import_modules, trainer_options
from mtl.files import finite
from mtl.log_filters import filter_logs
from mtl.prediction.predicting import predict, split_rows
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS

DESCRIPTION = """Predicts texts with a run: labels, entities, and the attributes and relations of entities.
Formats follow from the suffixes of input and output; docs/predicting.md describes them."""


def main(arguments: Sequence[str]) -> None:
    """Runs `mtl predict RUN --input F --output F [options] [--trainer.NAME VALUE…]`.

    Raises:
        InputError: An option, the input or the output is invalid.
    """
    trainer, rest = trainer_options(arguments[1:])
    parser = _parser()
    options, unknown = parser.parse_known_args(rest)
    if unknown:
        name = unknown[0].partition("=")[0]
        names = [option for action in parser._actions for option in action.option_strings]
        raise InputError(Problem(name, f"There is no option '{name}'.", did_you_mean(name, names)))
    checkpoints = [name for name in (options.run, options.checkpoint) if name is not None]
    if len(checkpoints) != 1:
        message = f"Exactly one run or checkpoint is needed, got {len(checkpoints)}."
        raise InputError(Problem("RUN", message, "Write mtl predict RUN, or mtl predict --checkpoint FILE."))
    if [options.input, options.text, options.split].count(None) != 2:
        message = "Exactly one of --input, --text and --split is needed."
        raise InputError(Problem("--input", message, "Give a file, - for standard input, or --text 'one text'."))
    if options.split is not None and len(options.task or ()) != 1:
        raise InputError(Problem("--split", "needs the task whose data it is.", "Add --task NAME."))
    if options.output is None:
        message = "is needed, because predictions hold texts of the input."
        raise InputError(Problem("--output", message, "Give a file such as found.jsonl, or - to print JSON lines."))
    printed = options.output == "-"
    if printed and (options.long or options.resume):
        name = "--long" if options.long else "--resume"
        raise InputError(Problem(name, "has no effect on JSON lines that are printed.", "Give --output FILE."))
    import_modules(options.modules)
    filter_logs()
    source = options.input if options.text is None else [options.text]
    found = predict(
        checkpoints[0],
        source if options.split is None else split_rows(checkpoints[0], options.task[0], options.split),
        None if printed else options.output,
        tasks=options.task,
        mentions=options.mentions,
        input_format=options.input_format,
        encoding=options.encoding,
        delimiter=options.delimiter,
        quoting=options.quoting,
        offsets=options.offsets,
        long=options.long,
        with_text=options.with_text,
        on_bad_row=options.on_bad_row,
        shard=options.shard,
        resume=options.resume,
        coverage=options.coverage,
        probabilities=options.probabilities,
        trainer=trainer,
    )
    for record in found or ():
        sys.stdout.write(json.dumps(finite(record), ensure_ascii=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mtl predict", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("run", nargs="?", help="folder of a run; its best checkpoint predicts")
    parser.add_argument("--checkpoint", help="a checkpoint instead, or the folder of a run")
    input_help = "texts: .jsonl, .csv, .tsv, .parquet, .txt (one per line), .PubTator, .xml (BioC), or - (stdin)"
    parser.add_argument("--input", help=input_help)
    parser.add_argument("--text", help="one text instead of an input")
    split_help = "rows of this split of the task's own data instead of an input, with their words and ids"
    parser.add_argument("--split", choices=SPLITS, help=split_help)
    formats = ("jsonl", "table", "text", "pubtator", "bioc")
    parser.add_argument("--input-format", choices=formats, help="format of the input, if its suffix is ambiguous")
    encoding_help = "encoding of the input, such as cp1252 for CSV of Excel on Windows (default: UTF-8 if it fits)"
    parser.add_argument("--encoding", help=encoding_help)
    delimiter_help = r"tables: character between fields, \t for a tab (default: found in the first line)"
    parser.add_argument("--delimiter", metavar="C", help=delimiter_help)
    quoting_help = "tables: whether fields may be in quotes (default: in csv they may, in tsv not)"
    parser.add_argument("--quoting", action=argparse.BooleanOptionalAction, help=quoting_help)
    offsets_help = "mentions of the input whose text is not that at their offsets: a bad row, or trust the offsets"
    parser.add_argument("--offsets", choices=("check", "trust"), help=offsets_help)
    output_help = (
        "file to write: .jsonl, .csv, .tsv, .PubTator, .ann (brat), .xml (BioC), .conll, .ddi or .bioasq.json;"
        " or - to print JSON lines"
    )
    parser.add_argument("--output", help=output_help)
    parser.add_argument("--task", nargs="+", action="extend", help="tasks to predict (default: all)")
    mentions_help = "entity tasks that find the mentions of a task, if several tasks find the same type"
    parser.add_argument(
        "--mentions", metavar="NAME=TASK[,TASK…]", nargs="+", action="extend", default=[], help=mentions_help
    )
    parser.add_argument("--long", action="store_true", help="tables: one row per entity, relation and label")
    with_text_help = "JSON lines and tables: write the texts too, so that a mixture can read them as weak labels"
    parser.add_argument("--with-text", action="store_true", help=with_text_help)
    bad_help = "report bad rows and stop before predicting, or report and skip them (default error)"
    parser.add_argument("--on-bad-row", choices=("error", "skip"), default="error", help=bad_help)
    shard_help = "predict only share i of n; the outputs of all shares, concatenated, are that of the whole"
    parser.add_argument("--shard", metavar="i/n", default="1/1", help=shard_help)
    parser.add_argument("--resume", action="store_true", help="continue an interrupted prediction")
    coverage_help = "add the set of labels that contains the right one with this probability (after mtl calibrate)"
    parser.add_argument("--coverage", type=float, metavar="P", help=coverage_help)
    probabilities_help = "JSON lines: write the probabilities of the tags of each word too, as soft labels"
    parser.add_argument("--probabilities", action="store_true", help=probabilities_help)
    add_import_option(parser)
    return parser

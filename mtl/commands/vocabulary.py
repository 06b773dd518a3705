"""`mtl vocabulary train|extend`: a vocabulary for a domain, and an encoder that has it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands.arguments import with_json_errors
from mtl.log_filters import filter_logs
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from rich.table import Table

    from mtl.vocabulary.first_loss import FirstLoss
    from mtl.vocabulary.vocabulary_file import VocabularySpec

DESCRIPTION = """A vocabulary for a domain, and an encoder that has it.

  train   train a tokenizer of the encoder's own kind on a corpus
  extend  add the most useful whole words of a corpus, or those of a list, to the encoder's tokenizer

The folder has configuration, weights and tokenizer, and a mixture names it: `encoder: {name: FOLDER}`.
"""

_SHOWN = 10
"""Maximum number of tokens that are printed of a list."""


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl vocabulary train|extend FILE --to FOLDER [key=value …] [--compare METHODS] [--json]`.

    Raises:
        InputError: The file, the corpus or the encoder has problems, or the folder exists.
    """
    options = _parser().parse_intermixed_args(arguments[1:])
    filter_logs()
    return with_json_errors(_run, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mtl vocabulary", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["train", "extend"], help="see above")
    parser.add_argument("file", type=Path, help="a vocabulary file (YAML): encoder, data, add or size, init")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, such as init.method=context")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="the folder to write, which must not exist")
    parser.add_argument(
        "--compare",
        default="",
        metavar="A,B",
        help="write nothing; print the loss of masked language modelling on held-out text before any training, for"
        " these methods of `init` or for all",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(options: argparse.Namespace) -> int:
    from mtl.vocabulary.building import build
    from mtl.vocabulary.vocabulary_file import load_vocabulary

    if (options.to is None) == (not options.compare):
        raise InputError(Problem("--to", "Exactly one of --to and --compare is needed.", "Write --to FOLDER."))
    spec = load_vocabulary(options.file, options.overrides, options.action)
    if options.compare:
        return _compare(spec, options)
    report = build(spec, options.action, options.to)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(report, options.to)))
    return 0


def _compare(spec: VocabularySpec, options: argparse.Namespace) -> int:
    from rich.console import Console

    from mtl.vocabulary.building import renewal_of
    from mtl.vocabulary.first_loss import chosen_methods, first_losses

    methods = chosen_methods(options.compare.split(","), spec.init)
    found = first_losses(renewal_of(spec, options.action), methods)
    if options.json:
        sys.stdout.write(json.dumps([one._asdict() for one in found], indent=2) + "\n")
    else:
        Console().print(_table(found))
    return 0


def _table(found: Sequence[FirstLoss]) -> Table:
    from rich.table import Column, Table

    headers = ("method", "loss", "loss of new tokens", "loss of other tokens", "masked", "new")
    table = Table(*(Column(name, justify="left" if name == "method" else "right") for name in headers))
    for one in found:
        numbers = (f"{loss:.4f}" if loss is not None else "-" for loss in (one.loss, one.new_loss, one.old_loss))
        table.add_row(one.method, *numbers, str(one.num_masked), str(one.num_new))
    return table


def _lines(report: Mapping[str, Any], folder: Path) -> list[str]:
    entries, fertility = report["entries"], report["fertility"]
    lines = [f"Entries: {entries['before']} before, {entries['after']} after, {entries['new']} of them new."]
    if fertility is None:
        lines.append("Tokens per word: not measured, because the data have no split dev; add `split`.")
    else:
        before, after = fertility["before"], fertility["after"]
        lines.append(
            f"Tokens per word on held-out text: {before['ratio']:.3f} before, {after['ratio']:.3f} after"
            f" ({before['words']} words)."
        )
    lists = {"never occur in the corpus": report["never_seen"]}
    if report["words"] is not None:
        lists["are one token already"] = report["words"]["already_tokens"]
        lists["are not one word for the tokenizer"] = report["words"]["not_words"]
    lines += [f"{len(words)} {what}: {_some(words)}." for what, words in lists.items() if words]
    head = "with its head for masked language modelling" if report["masked_lm_head"] else "without a head"
    return [*lines, f"Written to {folder}, {head}."]


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:_SHOWN]) + ", …" * (len(words) > _SHOWN)

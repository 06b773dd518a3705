"""`mtl encoders`: lists the catalogue of encoders, or shows one entry with its sources."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from mtl.config.encoder_catalogue import catalogue, entry_of, suggestion
from mtl.config.encoder_entry import FACTS, EncoderEntry, shown
from mtl.config.encoder_filters import FILTERS, matching
from mtl.config.encoder_terms import TERMS
from mtl.problems import InputError, Problem


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl encoders [NAME] [--domain TERM …] [--json | --markdown]`.

    Raises:
        InputError: There is no entry of that name, or a filter has no such term.
    """
    options = _parser().parse_args(arguments[1:])
    wanted = {name: values for name in FILTERS if (values := getattr(options, name))}
    if options.name is not None:
        if wanted:
            raise InputError(Problem("mtl encoders", "A name cannot be combined with filters.", "Remove one of them."))
        _show(_named(options.name), as_json=options.json)
        return 0
    found = matching(catalogue().values(), wanted)
    if options.json:
        _print_json([_as_json(entry) for entry in found])
    elif options.markdown:
        from mtl.encoder.catalogue_page import page  # imports torch

        sys.stdout.write(page(found))
    else:
        _print_table(found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "mtl encoders",
        description="Lists the catalogue of encoders, or shows one with the source of each fact. A mixture may name"
        " those whose family transformers has. Filters can be repeated and combined; all must match, and a fact that is"
        " unknown never does.",
    )
    parser.add_argument("name", nargs="?", help="an entry, by its name or an alias")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, with the meanings of the terms")
    for name, one in FILTERS.items():
        terms = f" ({', '.join(TERMS[one.field])})" if one.field in TERMS else ""
        kind, metavar = _KINDS.get(name, (str, "TERM"))
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, action="append", default=[], type=kind, metavar=metavar, help=one.meaning + terms)
    return parser


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError("must be yes or no")
    return text == "yes"


_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "max_length": (int, "N"),
    "max_parameters": (float, "M"),
    "cased": (_yes_or_no, "yes|no"),
    "mlm_head": (_yes_or_no, "yes|no"),
}
"""Type and placeholder of the values of filters that take no term."""


def _named(name: str) -> EncoderEntry:
    entry = entry_of(name) or next((one for one in catalogue().values() if one.hub == name), None)
    if entry is None:
        advice = suggestion(name) or "`mtl encoders` lists all."
        raise InputError(Problem("mtl encoders", f"There is no encoder '{name}' in the catalogue.", advice))
    return entry


def _as_json(entry: EncoderEntry) -> dict[str, Any]:
    return {**entry.model_dump(mode="json"), "batches": _batching(entry)}


def _batching(entry: EncoderEntry) -> str:
    from mtl.encoder.families import batching  # imports torch

    return batching(entry)


def _print_json(content: Any) -> None:
    sys.stdout.write(f"{json.dumps(content, indent=2)}\n")


def _show(entry: EncoderEntry, *, as_json: bool) -> None:
    if as_json:
        _print_json(_as_json(entry))
        return
    fields = {**dict(entry), "batches": _batching(entry)}
    numbers = {field: number for number, source in enumerate(entry.sources, 1) for field in source.of}
    lines = [entry.name + (f" ({', '.join(entry.aliases)})" if entry.aliases else "")]
    lines += [f"  {field:14}{shown(fields[field])} [{numbers[field]}]" for field in FACTS if field in numbers]
    lines += [f"  {'unknown':14}{', '.join(entry.unknown)}"] if entry.unknown else []
    lines.append(f"  {'batches':14}{fields['batches']}")
    if entry.defaults is not None:
        lines += [f"  {'default':14}{name} {value} ({entry.defaults.reason})" for name, value in _defaults(entry)]
    lines += [f"  {entry.notes}"] if entry.notes else []
    lines += [f"[{number}] {source.at}" for number, source in enumerate(entry.sources, 1)]
    sys.stdout.write("\n".join(lines) + "\n")


def _defaults(entry: EncoderEntry) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in dict(entry.defaults or ()).items() if name != "reason" and value]


def _print_table(entries: Sequence[EncoderEntry]) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    numeric = [Column(name, justify="right") for name in ("max length", "M parameters")]
    table = Table(Column("name", no_wrap=True), "domains", "pretraining", "family", *numeric, "licence", "weights")
    for one in entries:
        values = (one.domains, one.pretraining, one.family, one.max_length, one.parameters, one.licence, one.weights)
        table.add_row(one.name, *map(shown, values))
    console.print(table)
    total = len(catalogue())
    console.print(f"{len(entries)} of {total} encoders. `mtl encoders NAME` shows one with its sources.", markup=False)

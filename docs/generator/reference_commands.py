"""The options of every command as Markdown tables, from the parsers that read them."""

from __future__ import annotations

import argparse
import contextlib
import importlib
from collections.abc import Iterator
from typing import NamedTuple, NoReturn
from unittest import mock

from reference_keys import cell

from mtl.commands import COMMANDS

LIGHTNING = ("fit", "validate", "test")
"""Commands whose parser is Lightning's."""


class Option(NamedTuple):
    """An option or argument: its spelling, default and meaning."""

    name: str
    default: str
    meaning: str


class _ParserFoundError(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def commands_page() -> str:
    """All commands: a heading per command, and a table of its options."""
    lines = []
    for name, (_, about) in COMMANDS.items():
        parser = parser_of(name)
        lines += [f"### `mtl {name}`", "", about, ""]
        if parser.formatter_class is argparse.RawDescriptionHelpFormatter:
            lines += ["```text", (parser.description or "").strip(), "```", ""]
        shown = list(options(parser))
        if name in LIGHTNING[1:]:
            known = set(options(parser_of(LIGHTNING[0])))
            shown = [option for option in shown if option not in known]
            lines += ["The options of [`mtl fit`](#mtl-fit), and:", ""]
        lines += ["| option | default | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{option.name}` | {option.default} | {option.meaning} |" for option in shown]
        lines += [""]
    return "\n".join(lines)


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command, as it stands when the command reads its arguments."""
    if command in LIGHTNING:
        return _lightning_parser(command)

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _ParserFoundError(parser)

    main = importlib.import_module(COMMANDS[command][0]).main
    ways = ("parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args")
    with contextlib.ExitStack() as stack:
        for way in ways:
            stack.enter_context(mock.patch.object(argparse.ArgumentParser, way, stop))
        try:
            main([command])
        except _ParserFoundError as found:
            return found.parser
    raise AssertionError(f"mtl {command} reads no arguments")


def options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    """The options of a parser and of its subcommands, without those that only print."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from (option._replace(name=f"{name} {option.name}") for option in options(inner))
        elif not _only_prints(action):
            yield _option(action)


def _only_prints(action: argparse.Action) -> bool:
    """Whether an option shows help or settings, or reads a config file of one section only."""
    names = action.option_strings
    is_help = any(name in ("-h", "--help", "--print_config") or name.endswith(".help") for name in names)
    return is_help or action.help == argparse.SUPPRESS or type(action).__name__ == "_ActionConfigLoad"


def _option(action: argparse.Action) -> Option:
    names = [name for name in action.option_strings if not name.endswith("+")]
    name = ", ".join(names) or str(action.metavar or action.dest)
    if names and isinstance(action.metavar, str) and action.nargs != 0:
        name = f"{name} {action.metavar}"
    is_said = action.default in (None, argparse.SUPPRESS, False, [], "") or not names
    default = "" if is_said else f"`{action.default}`"
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    if action.choices and not action.metavar:
        text = f"{text.removesuffix('.')}; one of {', '.join(map(str, action.choices))}"
    return Option(name.replace("|", "\\|"), default.replace("|", "\\|"), cell(text))


def _lightning_parser(command: str) -> argparse.ArgumentParser:
    """Lightning's parser of a subcommand, which has no parser before it reads arguments."""
    from mtl.commands.fit import MixtureCLI

    def stop(cli: MixtureCLI, *_: object) -> NoReturn:
        raise _ParserFoundError(cli._subcommand_parsers[command])

    with mock.patch.object(MixtureCLI, "parse_arguments", stop):
        try:
            MixtureCLI(None, [command], [command], mock.Mock())
        except _ParserFoundError as found:
            return found.parser
    raise AssertionError(f"mtl {command} reads no arguments")

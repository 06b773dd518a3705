"""The reference of commands, from the parsers that read their arguments."""

from __future__ import annotations

import argparse

import pytest
from reference_commands import Option, commands_page, options, parser_of

from mtl.commands import COMMANDS

PAGE = commands_page()


def test_an_option_has_its_spelling_default_and_meaning() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", help="folder | file")
    parser.add_argument("--seeds", "-s", metavar="N", default=3, help="number of seeds (default %(default)s)")
    parser.add_argument("--as", choices=["one", "all"], help="how")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--secret", help=argparse.SUPPRESS)
    assert list(options(parser)) == [
        Option("run", "", "folder \\| file"),
        Option("--seeds, -s N", "`3`", "number of seeds (default 3)"),
        Option("--as", "", "how; one of one, all"),
        Option("--json", "", ""),
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_on_the_page_with_the_options_that_its_help_prints(command: str) -> None:
    table = PAGE.partition(f"### `mtl {command}`\n")[2].partition("\n### ")[0]
    if command in ("validate", "test"):
        table += PAGE.partition("### `mtl fit`\n")[2].partition("\n### ")[0]
    named = {
        name
        for action in parser_of(command)._actions
        for name in action.option_strings
        if action.help != argparse.SUPPRESS and name not in ("-h", "--help", "--print_config")
        if not name.endswith((".help", "+")) and type(action).__name__ != "_ActionConfigLoad"
    }
    assert [name for name in named if f"{name}" not in table] == []
    assert COMMANDS[command][1] in table


def test_no_table_lacks_a_meaning() -> None:
    rows = [line.replace("\\|", "/").split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row[1] for row in rows if not row[3].strip()] == []

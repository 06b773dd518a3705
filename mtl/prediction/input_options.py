"""What the user says about how an input is written, and these options by the names that `mtl predict` has for them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, get_args

from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import checked_encoding
from mtl.readers._mentions import Offsets

USED_BY = {
    "encoding": ("jsonl", "table", "text", "pubtator", "bioc"),
    "delimiter": ("table",),
    "quoting": ("table",),
    "offsets": ("texts", "jsonl", "pubtator", "bioc"),
}
"""The kinds of input on which each option has an effect: formats, `parquet`, or `texts` from Python."""

_OFFSETS = get_args(Offsets)
_AS_READERS_SAY = re.compile(r"\b(encoding|delimiter|offsets): (?=\S)")


class InputOptions(NamedTuple):
    r"""How an input is written; None decides by the input itself.

    Args:
        format: `jsonl`, `table`, `text`, `pubtator` or `bioc`.
        encoding: Encoding of a text file, such as ``cp1252``.
        delimiter: Character between the fields of a table; ``\t`` is a tab.
        quoting: Whether fields of a table may be in quotes.
        offsets: What happens to mentions whose text differs from the text at their offsets: `check` makes their row a
            bad row, `trust` takes the offsets.
    """

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quoting: bool | None = None
    offsets: str | None = None

    def checked(self, kind: str, name: str) -> dict[str, Any]:
        """The options that are set, other than the format.

        Args:
            kind: Kind of the input, as in `USED_BY`.
            name: Name of the input, for errors.

        Raises:
            InputError: An option is invalid, or has no effect on this kind of input; the error lists all.
        """
        given = {key: value for key, value in self._asdict().items() if key in USED_BY and value is not None}
        if given.get("delimiter") == r"\t":
            given["delimiter"] = "\t"
        problems = [
            Problem(f"--{key}", f"has no effect on '{name}'.", f"It is for the formats {', '.join(USED_BY[key])}.")
            for key in given
            if kind not in USED_BY[key]
        ]
        delimiter = given.get("delimiter", ",")
        if len(delimiter) != 1 or delimiter in '"\r\n':
            problems.append(
                Problem(
                    "--delimiter",
                    "must be one character other than a quote or a line break.",
                    r"Such as --delimiter ';' or '\t'.",
                )
            )
        if given.get("offsets", "check") not in _OFFSETS:
            message = f"There is no choice '{given['offsets']}'."
            problems.append(Problem("--offsets", message, did_you_mean(given["offsets"], _OFFSETS)))
        try:
            given |= {"encoding": checked_encoding(given["encoding"])} if "encoding" in given else {}
        except InputError as error:
            problems += map(in_options, error.problems)
        if problems:
            raise InputError(problems)
        return given


def in_options(problem: Problem) -> Problem:
    """A problem of a reader, which speaks of options as a mixture has them, with those of `mtl predict`.

    >>> print(in_options(Problem("delimiter", "There is one column.", 'Set delimiter: ";".')))
    --delimiter: There is one column. Set --delimiter ";".
    """
    key = f"--{problem.key}" if problem.key in USED_BY else problem.key
    key = "--input" if key.startswith("columns.") else key
    return Problem(key, words_of_options(problem.message), words_of_options(problem.suggestion))


def words_of_options(rule: str) -> str:
    """A rule of a reader, which contains no text of a row, with the options of `mtl predict`.

    >>> words_of_options("text must be UTF-8; a file that Excel saved on Windows needs the option encoding: cp1252")
    'text must be UTF-8; a file that Excel saved on Windows needs the option --encoding cp1252'
    >>> words_of_options("quotes must enclose a whole field (or set quoting: false)")
    'quotes must enclose a whole field (or set --no-quoting)'
    """
    return _AS_READERS_SAY.sub(r"--\1 ", rule.replace("quoting: false", "--no-quoting"))

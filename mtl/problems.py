"""Problems in the user's input: collected, worded in one form, and shown all at once."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from mtl import redaction

DECIDES_RESULTS = False


@dataclass(frozen=True)
class Problem:
    """One problem.

    Args:
        key: Key, or file and line, of the problem.
        message: The rule and what was found, without text of a row.
        suggestion: What to do about it; empty if the message makes it obvious.
    """

    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" + (f" {self.suggestion}" if self.suggestion else "")

    def without(self, texts: Iterable[str]) -> Problem:
        """The problem with texts that do not look like names replaced by their lengths."""
        texts = list(texts)
        key, message, suggestion = (
            redaction.without(part, texts) for part in (self.key, self.message, self.suggestion)
        )
        return Problem(key, message, suggestion)

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


class InputError(ValueError):
    """The user's input has problems. The command line prints them without a traceback and exits with code 2.

    If it is raised while another error is handled, it does not repeat a message of that error that may contain text of
    the data (see `mtl.redaction.reason`).
    """

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        problems = [problems] if isinstance(problems, Problem) else list(problems)
        self.problems = _without_message(problems, sys.exception())
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _without_message(problems: list[Problem], error: BaseException | None) -> list[Problem]:
    """The problems, with the reason of an error in place of its message."""
    message = "" if error is None or isinstance(error, InputError) else str(error).strip().rstrip(".")
    if error is None or not message or redaction.is_harmless(error):
        return problems
    shown = redaction.reason(error)
    return [replace(one, message=one.message.replace(message, shown)) for one in problems]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A sentence with the nearest of the valid names, and all of them.

    >>> did_you_mean("clasification", ["classification", "regression"])
    "Did you mean 'classification'? Choices: classification, regression."
    """
    choices = sorted(choices)
    found = nearest(name, choices)
    hint = f"Did you mean '{found}'? " if found else ""
    return f"{hint}Choices: {', '.join(choices) or 'none'}."


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The name that was probably meant; None if no choice is similar.

    A choice that differs only in case is the nearest; otherwise the most similar one is, ignoring case.

    >>> nearest("clasification", ["classification", "regression"])
    'classification'
    >>> nearest("CRF", ["crf", "linear"])
    'crf'
    """
    by_letters = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(name.casefold(), list(by_letters), n=1, cutoff=0.6)
    return by_letters[found[0]] if found else None

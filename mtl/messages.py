"""Messages for people who wait at a terminal or read a log."""

from __future__ import annotations

import sys

DECIDES_RESULTS = False


def say(message: str) -> None:
    """Prints a message on stderr, once for all processes of a run."""
    from mtl.distributed import is_rank_zero  # which imports torch

    if is_rank_zero():
        sys.stderr.write(f"mtl: {message}\n")


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"

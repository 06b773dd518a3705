"""A text that must appear nowhere: its places in the data, heads that quote it, and where it is searched for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WORD = "Qxcanary"
CANARY = f"{WORD} was seen today"


def assert_silent(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """No canary in what was printed; gives what was printed."""
    out, err = capfd.readouterr()
    shown = [line for line in (out + err).splitlines() if any(word in line for word in (WORD, *words))]
    assert not shown, shown
    return out + err


def files_with(folder: Path, word: str, *but: Path) -> list[Path]:
    """The files below a folder that contain a word, without those in some folders."""
    files = [file for file in folder.rglob("*") if file.is_file() and not any(part in file.parents for part in but)]
    return [file for file in files if word.encode() in file.read_bytes()]


def planted(value: Any) -> Iterator[Any]:
    """A value with the canary in the place of each of its strings and numbers in turn."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: changed} for changed in planted(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in planted(inner))
    elif isinstance(value, str | float):
        yield CANARY


HEAD = """
from heads.classification import Classification

SEEN = []

class Ours(Classification):
    '''Classifies texts, and quotes one of them in an error.'''

    def check(self, row):
        SEEN.append(row.text)
        {check}
        return super().check(row)

    def encode(self, rows, tokenizer, max_length, *, training):
        {encode}
        return super().encode(rows, tokenizer, max_length, training=training)

    def collate(self, examples, length):
        {collate}
        return super().collate(examples, length)

    def loss(self, logits, fields):
        {loss}
        return super().loss(logits, fields)

    def decode(self, row, examples, outputs):
        {decode}
        return super().decode(row, examples, outputs)
"""
METHODS = ("check", "encode", "collate", "loss", "decode")
ERRORS = {
    "check": "return f'must be short, got {row.text}'",
    "encode": "raise ValueError(f'cannot read {SEEN[-1]!r}.')",
    "collate": "raise KeyError(SEEN[-1])",
    "loss": "int(SEEN[-1])",
    "decode": "raise RuntimeError(SEEN[-1]) from ValueError(SEEN[-1])",
}

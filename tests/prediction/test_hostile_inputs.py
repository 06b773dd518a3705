"""Any input of `mtl predict` gives rows and bad rows, or an `InputError`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from heads.rows import row_to_dict
from mtl.prediction.input_options import InputOptions
from mtl.prediction.inputs import open_input
from mtl.problems import InputError
from tests.readers import fuzzing

QUICK, SOAK = 150, 50_000
"""Mutated inputs of each kind, in `make test` and in `make soak`."""

KINDS = {
    "a.csv": "csv",
    "a.tsv": "tsv",
    "a.jsonl": "jsonl",
    "a.txt": "text",
    "a.PubTator": "pubtator",
    "a.xml": "bioc",
    "a.parquet": "parquet",
}
OPTIONS = (InputOptions(), InputOptions(offsets="trust"), InputOptions(encoding="cp1252"))


def read(path: Path, options: InputOptions) -> tuple[int, int]:
    """The number of rows, and of bad rows or problems."""
    try:
        rows, bad = open_input(path, [], options).read()
        names = set()
        num_rows = 0
        for one in rows:
            num_rows += 1
            names.add(one.row.id)
            json.dumps([row_to_dict(one.row), one.carried], ensure_ascii=False, default=str).encode()
    except InputError as error:
        str(error).encode()
        return 0, len(error.problems)
    assert len(names) == num_rows, "ids must be unique"
    "\n".join(map(str, bad)).encode()
    return num_rows, len(bad)


def outcomes(folder: Path, name: str, number: int) -> tuple[int, int]:
    seeds = fuzzing.corpus(KINDS[name])
    num_rows = num_problems = 0
    for one in range(number):
        data = seeds[one] if one < len(seeds) else fuzzing.mutated(seeds, random.Random(f"predict {name} {one}"))
        (folder / name).write_bytes(data)
        try:
            found = read(folder / name, OPTIONS[one % len(OPTIONS)])
        except BaseException as error:
            error.add_note(f"input {one} of {name}: {data[:2000]!r}")
            raise
        num_rows, num_problems = num_rows + found[0], num_problems + found[1]
    return num_rows, num_problems


@pytest.mark.parametrize("name", KINDS)
def test_mutated_inputs_give_rows_or_problems(name: str, tmp_path: Path) -> None:
    num_rows, num_problems = outcomes(tmp_path, name, QUICK)
    assert num_rows
    assert num_problems


@pytest.mark.soak
@pytest.mark.parametrize("name", KINDS)
def test_many_mutated_inputs_give_rows_or_problems(name: str, tmp_path: Path) -> None:
    assert min(outcomes(tmp_path, name, SOAK)) > 0

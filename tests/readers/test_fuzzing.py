from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtl.code_identity import code_identity
from tests.readers import fuzzing

QUICK = 400
"""Executions of each target in `make test`, besides the corpus."""

SOAK = 1_000_000
"""Executions of each target in `make soak`, over all its calls."""

STEP = 10_000

SECONDS = 300
"""Time in which each target is fuzzed with coverage as the guide, in `make soak`."""

REPOSITORY = Path(__file__).parents[2]


def execute(name: str, seeds: list[bytes], number: int) -> fuzzing.Outcome:
    data = fuzzing.mutated(seeds, random.Random(f"{name} {number}"))
    try:
        return fuzzing.run(name, data)
    except BaseException as error:
        error.add_note(f"input {number} of {name}: {data[:2000]!r}")
        raise


@pytest.mark.parametrize("name", fuzzing.NAMES)
def test_inputs_that_are_kept_give_rows_or_an_input_error(name: str) -> None:
    found = [fuzzing.run(name, data) for data in fuzzing.corpus(name)]
    assert any(outcome.rows for outcome in found), "keep an input that is valid"


@pytest.mark.parametrize("name", fuzzing.NAMES)
def test_mutated_inputs_give_rows_or_an_input_error(name: str) -> None:
    seeds = fuzzing.corpus(name)
    found = [execute(name, seeds, number) for number in range(QUICK)]
    assert any(outcome.rows for outcome in found), "mutations must leave some rows"
    assert any(outcome.problems for outcome in found), "mutations must break some rows"


@pytest.mark.soak
@pytest.mark.parametrize("name", fuzzing.NAMES)
def test_a_million_mutated_inputs_give_rows_or_an_input_error(name: str) -> None:
    """The counts are kept in `runs/fuzzing`: an interrupted test resumes, and a change of the code starts again."""
    place = REPOSITORY / "runs" / "fuzzing" / f"{name}.json"
    seeds = fuzzing.corpus(name)
    readers = [] if name == "yaml" else [type(reader) for reader in fuzzing.TARGETS[name].readers()]
    code = code_identity(fuzzing.run, "mtl.config.interpolation:resolve", *dict.fromkeys(readers))
    counts = json.loads(place.read_text()) if place.exists() else {}
    if counts.get("code") != code:
        counts = {"code": code, "executions": 0, "rows": 0, "problems": 0}
    place.parent.mkdir(parents=True, exist_ok=True)
    while counts["executions"] < SOAK:
        for number in range(counts["executions"], counts["executions"] + STEP):
            outcome = execute(name, seeds, number)
            counts["rows"] += outcome.rows
            counts["problems"] += outcome.problems
        counts["executions"] += STEP
        part = place.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(counts))
        part.replace(place)
    assert counts["rows"]
    assert counts["problems"]


@pytest.mark.soak
@pytest.mark.parametrize("name", fuzzing.NAMES)
def test_inputs_found_by_coverage_give_rows_or_an_input_error(name: str) -> None:
    """Inputs that reached new code are kept in `runs/fuzzing`, and the next call starts from them."""
    pytest.importorskip("atheris", reason="needs the extra `fuzz`")
    found = REPOSITORY / "runs" / "fuzzing" / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    program = Path(__file__).with_name("fuzz_with_atheris.py")
    options = [f"-max_total_time={SECONDS}", "-print_final_stats=1", f"-artifact_prefix={found.parent}/{name}-"]
    ended = subprocess.run(
        [sys.executable, str(program), name, str(found), str(fuzzing.CORPUS / name), *options],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    executions = re.search(r"number_of_executed_units:\s*(\d+)", ended.stderr)
    assert executions
    assert int(executions[1]) > len(fuzzing.corpus(name))


def test_a_target_stands_for_every_reader_of_files() -> None:
    readers = {type(reader).__module__ for target in fuzzing.TARGETS.values() for reader in target.readers()}
    files = {f"mtl.readers.{path.stem}" for path in (REPOSITORY / "mtl" / "readers").glob("[!_]*.py")}
    assert files - readers == {"mtl.readers.hub"}  # reads with `datasets`, from the disk alone
    assert {path.name for path in fuzzing.CORPUS.iterdir()} == set(fuzzing.NAMES)

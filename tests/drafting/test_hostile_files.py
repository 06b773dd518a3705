"""Any file gives a draft that is valid YAML, or an `InputError`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from mtl.config.loading import load_mixture
from mtl.drafting.draft import as_yaml, draft_tasks
from mtl.problems import InputError, Problem
from mtl.readers._limits import VARIABLE
from tests.readers import fuzzing

QUICK, SOAK = 60, 20_000
"""Mutated files of each kind, in `make test` and in `make soak`."""

KINDS = {
    "a.csv": "csv",
    "a.tsv": "tsv",
    "a.jsonl": "jsonl",
    "a.conll": "conll",
    "a.PubTator": "pubtator",
    "a.parquet": "parquet",
    "a.txt": "rqe",
    "a.json": "bioasq",
    "a.xml": "bioc",
    "train.zip": "brat_zip",
    "train.tar.gz": "brat_gz",
}
"""The corpus of the readers' fuzzing whose files have this name."""


def outcome(path: Path, data: bytes) -> bool:
    """Whether a file with this content gives tasks; their YAML must be what it was written from.

    Otherwise every problem must name the file.
    """
    path.write_bytes(data)
    refused: list[Problem] = []
    try:
        tasks = draft_tasks(path, "one")
    except InputError as error:
        str(error).encode()
        refused = error.problems
    if refused:
        assert [problem.key for problem in refused if not problem.key.startswith(str(path))] == []
        return False
    mixture = path.with_name("mixture.yaml")
    mixture.write_text(as_yaml("drafted", tasks, "minilm-l6", 64, "drafted.yaml"), encoding="utf-8")
    loaded = load_mixture(mixture).tasks
    assert list(loaded) == [task.name for task in tasks]
    for task in tasks:
        assert list(loaded[task.name].labels) == task.fields.get("labels", [])
    return True


def outcomes(folder: Path, name: str, number: int) -> list[bool]:
    seeds = fuzzing.corpus(KINDS[name])
    found = [outcome(folder / name, data) for data in seeds]
    for one in range(number):
        data = fuzzing.mutated(seeds, random.Random(f"init {name} {one}"))
        try:
            found.append(outcome(folder / name, data))
        except BaseException as error:
            error.add_note(f"input {one} of {name}: {data[:2000]!r}")
            raise
    return found


@pytest.mark.parametrize("name", KINDS)
def test_mutated_files_give_a_mixture_or_an_input_error(name: str, tmp_path: Path) -> None:
    assert not all(outcomes(tmp_path, name, QUICK)), "some mutations must break the file"


@pytest.mark.soak
@pytest.mark.parametrize("name", KINDS)
def test_many_mutated_files_give_a_mixture_or_an_input_error(name: str, tmp_path: Path) -> None:
    assert not all(outcomes(tmp_path, name, SOAK))


TEXTS = [b"fever and rash on day %d of treatment" % day for day in range(12)]
"""Without texts of several words, a file is refused before its labels are looked at."""

EXTREME = {
    "braces": b'{"a": ' * 200_000,
    "brackets": b'{"text": "a", "x": %s}' % (b"[" * 200_000),
    "surrogate": b"".join(b'{"text": "%s \\ud800", "label": "%d"}\n' % (t, n % 2) for n, t in enumerate(TEXTS)),
    "tag": b"Fever\tO\nand\tB-${a}\n\n" * 3,
    "label": b"".join(
        b'{"text": "%s", "label": "%s"}\n' % (t, (b"${b", b"\\\\${b}")[n % 2]) for n, t in enumerate(TEXTS)
    ),
    "digits": b'{"text": "a", "label": %s}\n' % (b"9" * 5000),
    "zeros": b"text,label\n" + b"".join(b"%s\0,%d\0\n" % (t, n % 2) for n, t in enumerate(TEXTS)),
    "quotes": b'text,label\n"open,x\n' * 50,
    "bytes": b"\xff\xfe\x00",
    "line": b"x" * (3 << 20),
    "late line": b"a\tB-X\n" + b"y" * (3 << 20),
}
DRAFTED = {
    "tag": ("csv", "txt", "conll"),
    "label": ("csv", "jsonl", "txt", "conll", "json"),
    "zeros": ("csv", "txt", "conll"),
}
"""The endings with which these contents give tasks; everything else is refused."""


@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt", "conll", "json", "xml"])
def test_extreme_files_do_too(name: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    assert outcome(tmp_path / f"a.{suffix}", EXTREME[name]) is (suffix in DRAFTED.get(name, ()))


def test_what_cannot_be_opened_is_an_input_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", tmp_path / "missing.csv", tmp_path / "a\0b.csv"):
        with pytest.raises(InputError):
            draft_tasks(path, "one")

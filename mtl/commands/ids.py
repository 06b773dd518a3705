"""`mtl ids`: maps the hashed ids of a run back to the ids of its rows and documents."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl.config.loading import load_mixture
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.hashed_ids import hashed, read_key
from mtl.problems import InputError, Problem
from mtl.tracking.run_folder import RunFolder


class HashedId(NamedTuple):
    """A hashed id, and where its id is in the data.

    Args:
        hash: The hash, as it is shown outside the folder of the run.
        task: Name of the task.
        split: train, dev or test.
        kind: `row` or `document`; a document whose id is that of its row is not listed again.
        id: The id.
    """

    hash: str
    task: str
    split: str
    kind: str
    id: str


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl ids RUN [HASH…]`; returns 1 if a hash is not one of the run's data under the key."""
    parser = argparse.ArgumentParser("mtl ids", description="Maps the hashed ids of a run back to ids.")
    parser.add_argument("run", help="folder of a run, or a file in it")
    parser.add_argument("hashes", nargs="*", metavar="HASH", help="hashed ids to look up (default: all)")
    options = parser.parse_args(arguments[1:])
    wanted = set(options.hashes)
    missing = set(wanted)
    for one in ids_of(options.run):
        if not wanted or one.hash in wanted:
            missing.discard(one.hash)
            print("\t".join(one))
    for name in sorted(missing):
        print(f"{name}\tnot found")
    return 1 if missing else 0


def ids_of(run: str | Path) -> Iterator[HashedId]:
    """The hashed ids of all rows and documents that a run read.

    Args:
        run: Folder of a run, or a file in it.

    Raises:
        InputError: There is no such run or no key, or the data is missing.
    """
    folder = RunFolder.open(run)
    file = folder.path / "mixture.yaml"
    if not file.is_file():
        raise InputError(Problem(str(file), "The file does not exist, so the data of the run is not known."))
    key = read_key()
    mixture, store = load_mixture(file), Store()
    for name, spec in mixture.tasks.items():
        for split, (rows, _) in read_rows(spec.data, f"tasks.{name}.data", store).items():
            row_ids, documents = rows.ids().tolist(), rows.documents().tolist()
            yield from (HashedId(hashed(one, key), name, split, "row", one) for one in row_ids)
            of_rows = set(row_ids)
            others = dict.fromkeys(document for document in documents if document not in of_rows)
            yield from (HashedId(hashed(one, key), name, split, "document", one) for one in others)

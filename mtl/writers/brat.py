"""brat standoff annotation: a `.txt` file with each text, and an `.ann` file with its mentions and relations."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mtl.private_files import open_private, private_folder, replacing_private
from mtl.writers import PredictedRow, PredictionWriter
from mtl.writers._annotations import annotated

LONGEST = 200
"""Bytes of an id in the name of a file. File systems allow 255 in all."""


class BratWriter(PredictionWriter):
    """One text: `x.ann`, and `x.txt` next to it. Several texts: a folder with this name, with one pair of files each.

    Files in the folder are named by the ids of the rows. A tab inside a mention divides it into two parts. The score of
    a mention, attribute or relation is in a note (`#` line) of its own.
    """

    suffixes = (".ann",)
    only_mentions = True

    def problem(self, path: Path, tasks: Sequence[str], texts: Sequence[str]) -> str | None:
        if len(texts) != 1:
            return "it is a file; several texts need a folder" if path.is_file() else None
        if path.is_dir():
            return "it is a folder; one text needs a file"
        text = path.with_suffix(".txt")
        is_other = text.exists() and _content(text).rstrip("\n") != texts[0].rstrip("\n")
        return f"'{text.name}' next to it has another text" if is_other else None

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        rest = iter(rows)
        first = list(itertools.islice(rest, 2))
        if len(first) != 1:
            self._write_folder(path, itertools.chain(first, rest))
            return
        text = path.with_suffix(".txt")
        if not text.exists():
            with replacing_private(text, newline="") as file:
                file.write(first[0].text)
        with replacing_private(path, newline="") as file:
            file.writelines(f"{line}\n" for line in _lines(first[0]))

    def _write_folder(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        private_folder(part)
        try:
            taken: set[str] = set()
            for row in rows:
                name = _file_name(row.id, taken)
                with open_private(part / f"{name}.txt", newline="") as file:
                    file.write(row.text)
                with open_private(part / f"{name}.ann", newline="") as file:
                    file.writelines(f"{line}\n" for line in _lines(row))
            if path.exists():
                shutil.rmtree(path)
            part.replace(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _lines(row: PredictedRow) -> Iterator[str]:
    found = annotated(row)
    for number, mention in enumerate(found.mentions, start=1):
        parts = [part for span in mention.spans for part in _without_tabs(row.text, span)]
        offsets = ";".join(f"{start} {end}" for start, end in parts)
        written = " ".join(row.text[start:end] for start, end in parts).replace("\n", " ")  # as brat writes it
        yield f"T{number}\t{_word(mention.type)} {offsets}\t{written}"
    for number, link in enumerate(found.links, start=1):
        yield f"R{number}\t{_word(link.type)} Arg1:T{link.head + 1} Arg2:T{link.tail + 1}"
    attributes = [(i, *one) for i, mention in enumerate(found.mentions, start=1) for one in mention.attributes.items()]
    for number, (index, name, attribute) in enumerate(attributes, start=1):
        yield f"A{number}\t{_word(name)} T{index} {_word(attribute.value)}"
    scores = [(f"T{i}", mention.score) for i, mention in enumerate(found.mentions, start=1)]
    scores += [(f"A{i}", attribute.score) for i, (_, _, attribute) in enumerate(attributes, start=1)]
    scores += [(f"R{i}", link.score) for i, link in enumerate(found.links, start=1)]
    known = [(name, score) for name, score in scores if score is not None]
    for number, (name, score) in enumerate(known, start=1):
        yield f"#{number}\tAnnotatorNotes {name}\tscore {score}"


def _without_tabs(text: str, span: tuple[int, int]) -> list[tuple[int, int]]:
    """The parts of a mention between tabs, which separate the columns of an `.ann` file."""
    return [(span[0] + match.start(), span[0] + match.end()) for match in re.finditer("[^\t]+", text[slice(*span)])]


def _word(name: str) -> str:
    return re.sub(r"\s", "_", name)


def _file_name(row_id: str, taken: set[str]) -> str:
    """A new name for the files of a row, made of its id and short enough for any file system."""
    stem = re.sub(r"[^\w.\-+=()]", "_", row_id).lstrip(".") or "_"
    stem = stem.encode()[:LONGEST].decode(errors="ignore")
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name


def _content(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if path.is_file() else ""

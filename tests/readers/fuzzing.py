"""Runs every reader on mutated files in memory; see `test_fuzzing.py`.

The property: any bytes give rows or an `InputError`, never another exception.

`fuzz_with_atheris.py` does the same with coverage as its guide.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from heads.rows import Row, row_to_dict
from mtl.config.yaml_text import load_yaml
from mtl.problems import InputError
from mtl.readers import Reader
from mtl.readers._storage import Memory
from mtl.readers.bioasq import BioASQ
from mtl.readers.bioc import BioC
from mtl.readers.brat import Brat
from mtl.readers.chemdner import ChemDNER
from mtl.readers.chemprot import ChemProt
from mtl.readers.clinicalsts import ClinicalSTS
from mtl.readers.conll import Conll
from mtl.readers.ddi2013 import DDI2013
from mtl.readers.ebm_nlp import EBMNLP
from mtl.readers.hoc import HoC
from mtl.readers.i2b2_2010 import I2B22010
from mtl.readers.jsonl import Jsonl
from mtl.readers.marked import MarkedPairs
from mtl.readers.mednli import MedNLI
from mtl.readers.pubmedqa import PubMedQA
from mtl.readers.pubtator import Pubtator
from mtl.readers.rqe import RQE
from mtl.readers.share2013 import ShARe2013
from mtl.readers.table import Table
from mtl.readers.tac2017 import TAC2017
from mtl.readers.text import Text

CORPUS = Path(__file__).parent / "corpus"
"""A folder of inputs for each target: small invented files, and inputs that once broke a reader."""

BETWEEN = b"\n=====\n"
"""Separates the parts of an input that stands for several files."""


class Target(NamedTuple):
    """What is fuzzed.

    Args:
        readers: Makes the readers of one input; each reads the same files.
        files: From the bytes of an input to the files.
        split: The split that is read.
    """

    readers: Callable[[], Sequence[Reader]]
    files: Callable[[bytes], Mapping[str, bytes]]
    split: str = "train"


def _one(name: str) -> Callable[[bytes], Mapping[str, bytes]]:
    return lambda data: {name: data}


def _zip(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _several(*names: str) -> Callable[[bytes], Mapping[str, bytes]]:
    """From an input with a part for each file; the files of parts that are missing are empty."""
    return lambda data: dict(itertools.zip_longest(names, data.split(BETWEEN, len(names) - 1), fillvalue=b""))


def _annotated(data: bytes) -> Mapping[str, bytes]:
    """A text and its annotation: mutations inside an archive would only break its checksums."""
    text, _, annotation = data.partition(BETWEEN)
    return {"d/train/a.txt": text, "d/train/a.ann": annotation}


def _questions(data: bytes) -> Mapping[str, bytes]:
    questions, _, splits = data.partition(BETWEEN)
    return {"d/ori_pqal.json": questions, "d/splits.json": splits}


def _document(data: bytes) -> Mapping[str, bytes]:
    document, _, ids = data.partition(BETWEEN)
    return {"d/train.zip": _zip({"Train/DrugBank/a.xml": document}), "d/ids.tsv": ids}


_TRAIN = "starting_spans/{}/train/1.AGGREGATED.ann"

TARGETS: dict[str, Target] = {
    "bioasq": Target(lambda: [BioASQ("a.json"), BioASQ("a.json", context="none", on_bad_row="skip")], _one("a.json")),
    "bioc": Target(
        lambda: [BioC("a.xml"), BioC("a.xml", types={"Disease": "D"}, offsets="trust", on_bad_row="skip")],
        _one("a.xml"),
    ),
    "brat": Target(lambda: [Brat("d"), Brat("d", types={"Drug": "D"}, offsets="trust", on_bad_row="skip")], _annotated),
    "brat_zip": Target(lambda: [Brat("train.zip")], _one("train.zip")),
    "brat_tar": Target(lambda: [Brat("train.tar.gz")], lambda data: {"train.tar.gz": gzip.compress(data, 0)}),
    "brat_gz": Target(lambda: [Brat("train.tar.gz")], _one("train.tar.gz")),
    "chemdner": Target(
        lambda: [ChemDNER("d"), ChemDNER("d", types={"FAMILY": "F"}, offsets="trust", on_bad_row="skip")],
        _several("d/training.abstracts.txt", "d/training.annotations.txt"),
    ),
    "chemprot": Target(
        lambda: [ChemProt("d"), ChemProt("d", relations="names", types={"CHEMICAL": "C"}, offsets="trust")],
        _several(*(f"d/train/{name}.tsv" for name in ("abstracts", "entities", "gold_standard", "relations"))),
    ),
    "clinicalsts": Target(
        lambda: [ClinicalSTS("d"), ClinicalSTS("d/train.txt", on_bad_row="skip")],
        _several("d/train.txt", "d/train.gs.sim.txt"),
    ),
    "conll": Target(
        lambda: [
            Conll("a.tsv", document_mark="-DOCSTART-"),
            Conll("a.tsv", scheme="IOB1", comment="#", encoding="cp1252"),
            Conll("a.tsv", scheme="BIOES", separator="space", entity_type="X"),
            Conll("a.tsv", scheme="IO", types={"Drug": "D"}, on_bad_row="skip"),
        ],
        _one("a.tsv"),
    ),
    "ddi2013": Target(lambda: [DDI2013("d"), DDI2013("d", dev_ids="ids.tsv")], _document),
    "ddi2013_zip": Target(lambda: [DDI2013("train.zip")], _one("train.zip")),
    "ebm_nlp": Target(
        lambda: [EBMNLP("d"), EBMNLP("d", overlap="last", on_bad_row="skip")],
        _several(
            "d/documents/1.tokens",
            *(f"d/annotations/aggregated/{_TRAIN.format(name)}" for name in ("participants", "outcomes")),
        ),
    ),
    "hoc": Target(lambda: [HoC("a.tsv"), HoC("a.tsv", unit="sentence", on_bad_row="skip")], _one("a.tsv")),
    "i2b2_2010": Target(
        lambda: [I2B22010("d"), I2B22010("d", types={"problem": "P"}, offsets="trust", on_bad_row="skip")],
        _several(*(f"d/train/a.{suffix}" for suffix in ("txt", "con", "ast", "rel"))),
    ),
    "jsonl": Target(lambda: [Jsonl("a.jsonl", meta=["site"], ignore=["x"])], _one("a.jsonl")),
    "marked": Target(
        lambda: [MarkedPairs("a.txt"), MarkedPairs("a.txt", marks={"A": ("<", ">"), "B": ("[", "]")})], _one("a.txt")
    ),
    "mednli": Target(lambda: [MedNLI("a.jsonl")], _one("a.jsonl")),
    "pubmedqa": Target(lambda: [PubMedQA("d")], _questions),
    "pubtator": Target(
        lambda: [Pubtator("a.txt"), Pubtator("a.txt", types={"Disease": "D"}, relations={"CID": "R"})], _one("a.txt")
    ),
    "rqe": Target(lambda: [RQE("a.xml")], _one("a.xml")),
    "share2013": Target(
        lambda: [ShARe2013("d"), ShARe2013("d", discontinuous="split", on_bad_row="skip")],
        _several("d/train/a.txt", "d/train/a.pipe.txt"),
    ),
    "tac2017": Target(
        lambda: [TAC2017("d"), TAC2017("d", types={"Factor": "F"}, offsets="trust", discontinuous="outer")],
        _one("d/train/a.xml"),
    ),
    "text": Target(
        lambda: [Text("a.txt"), Text("a.txt", chunk="stream", stream_size=20), Text("a.txt", documents="json_lines")],
        _one("a.txt"),
    ),
    "csv": Target(
        lambda: [Table("a.csv"), Table("a.csv", header=False, columns={"text": "0"}, label_type="number")],
        _one("a.csv"),
    ),
    "tsv": Target(lambda: [Table("a.tsv", label_type="list", meta=["id"], on_bad_row="skip")], _one("a.tsv")),
    "parquet": Target(lambda: [Table("a.parquet", meta=["site"])], _one("a.parquet")),
}


class Outcome(NamedTuple):
    """What one input gave: the number of rows, and the number of problems."""

    rows: int
    problems: int


def run(name: str, data: bytes) -> Outcome:
    """Runs one input through its readers.

    Any exception other than `InputError` is the finding, and so are a row or a message that cannot be written.
    """
    if name == "yaml":
        return _run_yaml(data)
    target = TARGETS[name]
    files = target.files(data)
    num_rows = num_problems = 0
    for reader in target.readers():
        reader.storage = Memory(files)
        rows: list[Row] = []
        try:
            rows.extend(reader.read(target.split))
        except InputError as error:
            num_problems += len(error.problems)
            str(error).encode()
        "\n".join(map(str, reader.bad_rows)).encode()
        num_problems += len(reader.bad_rows)
        num_rows += len(rows)
        for row in rows:
            json.dumps(row_to_dict(row), ensure_ascii=False).encode()
    return Outcome(num_rows, num_problems)


def _run_yaml(data: bytes) -> Outcome:
    import yaml

    from mtl.config.interpolation import check_syntax, resolve

    try:
        fields = load_yaml(data.decode(errors="replace"))
        if not isinstance(fields, dict):
            return Outcome(0, 1)
        check_syntax({str(key): value for key, value in fields.items()})
        resolve(fields)
    except (InputError, yaml.YAMLError):
        return Outcome(0, 1)
    return Outcome(1, 0)


# --- inputs ---------------------------------------------------------------------------------------------------------


NAMES = (*TARGETS, "yaml")

_TOKENS = (
    *(b"\t", b"\n", b"\r\n", b" ", b"\0", b'"', b"'", b",", b";", b"|", b"<", b">", b"&", b"/", b"{", b"}", b"[", b"]"),
    *(
        b"0",
        b"-1",
        b"9" * 20,
        b"1" * 5000,
        b"1" + b"0" * 400,
        b"1e999",
        b"NaN",
        b"null",
        b"true",
        b"\\ud800",
        b"\xff",
        b"\xed\xa0\x80",
    ),
    *(b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xf0\x9d\x9b\xbc", b"&lt;", b"<!DOCTYPE a [", b"<a>" * 60, b"[" * 2000),
    *(b"*a", b"&a ", b"<<: ", b"${a}", b"${", b"!!int ", b"../", b"/a", BETWEEN),
    *(struct.pack("<I", 2**32 - 1), struct.pack("<H", 99), struct.pack("<Q", 2**63), b"\x80" + b"\xff" * 11),
)


def corpus(name: str) -> list[bytes]:
    """The inputs of a target that are kept."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutated(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """One input: a seed with up to eight changes."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((1, 1, 2, 4, 16, 100)))
        kind = draw.randrange(8)
        if kind == 0:
            del data[start:end]
        elif kind == 1:
            data[start:start] = data[start:end] * draw.choice((1, 2, 50))
        elif kind == 2 and start < len(data):
            data[start] ^= 1 << draw.randrange(8)
        elif kind == 3:
            data[start:end] = draw.randbytes(end - start)
        elif kind == 4:
            other = draw.choice(seeds)
            cut = draw.randrange(len(other) + 1)
            data[start:end] = other[cut : cut + draw.choice((4, 20, 200))]
        elif kind == 5:
            data[start:end] = draw.choice(_TOKENS)
        elif kind == 6:
            _change_number(data, draw)
        else:
            data[start:start] = draw.choice(_TOKENS)
    return bytes(data)


def _change_number(data: bytearray, draw: random.Random) -> None:
    numbers = list(re.finditer(rb"\d+", data))
    if numbers:
        number = draw.choice(numbers)
        data[number.start() : number.end()] = draw.choice((b"0", b"-1", b"7", b"99999", b"1" * 4301, b"1.5", b""))

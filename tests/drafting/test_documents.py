from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from mtl.drafting.documents import reader_of_documents, reader_of_json, reader_of_xml
from mtl.problems import InputError

LABEL = '<?xml version="1.0"?>\n<Label drug="x"><Text/></Label>'
DDI = '<document id="d1"><sentence id="d1.s0" text=""/></document>'
PASSAGE = {"offset": 0, "text": "Aspirin", "annotations": []}
QUESTION = {"id": "1", "type": "yesno", "body": "Is it?", "exact_answer": "yes"}


@pytest.mark.parametrize(
    ("text", "reader"),
    [
        ("<collection><document><id>1</id></document></collection>", "bioc"),
        ('<?xml version="1.0"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection>', "bioc"),
        ("<!-- a <Label> --><collection>", "bioc"),
        (LABEL, "tac2017"),
        (DDI, "ddi2013"),
        ('<document id="1"><p>Text</p></document>', None),
        ("<RQE-med>\n<pair pid='1'>\n<chq>How?</chq>", "rqe"),
        ("<html><body/></html>", None),
        ("no XML", None),
    ],
)
def test_readers_of_xml(text: str, reader: str | None) -> None:
    assert reader_of_xml(text) == reader


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("value", "reader"),
    [
        ({"source": "PubTator", "documents": [{"id": "1", "passages": [PASSAGE]}]}, "bioc"),
        ({"PubTator3": [{"id": "1", "passages": [PASSAGE]}]}, "bioc"),
        ([{"documents": [{"id": "1", "passages": [PASSAGE]}]}], "bioc"),
        ({"id": "1", "passages": [PASSAGE]}, "bioc"),
        ({"questions": [QUESTION]}, "bioasq"),
        ({"text": 'He said "passages": [ and "offset": 1', "label": "a"}, None),
        ({"question": "Is it?", "passages": ["One.", "Two."], "label": "a"}, None),
    ],
)
def test_readers_of_json(value: object, reader: str | None, indent: int | None) -> None:
    assert reader_of_json(json.dumps(value, indent=indent)) == reader


def pack(path: Path, name: str, content: str) -> Path:
    raw = content.encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"corpus/{name}", raw)
        return path
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(f"corpus/{name}")
        member.size = len(raw)
        tar.addfile(member, io.BytesIO(raw))
    return path


@pytest.mark.parametrize(
    ("name", "content", "readers"),
    [
        ("1.ann", "", ("brat", "brat", "brat")),
        ("1.xml", LABEL, ("tac2017", "tac2017", "tac2017")),
        ("1.xml", DDI, (None, "ddi2013", None)),
        ("1.json", json.dumps({"questions": [QUESTION]}), ("bioasq", "bioasq", "bioasq")),
        ("1.xml", "<collection/>", (None, None, None)),
        (".hidden.ann", "", (None, None, None)),
    ],
)
def test_readers_of_folders_and_archives(
    name: str, content: str, readers: tuple[str | None, ...], tmp_path: Path
) -> None:
    (tmp_path / "folder" / "corpus").mkdir(parents=True)
    (tmp_path / "folder" / "corpus" / name).write_text(content)
    zipped, tarred = (pack(tmp_path / file, name, content) for file in ("c.zip", "c.tar.gz"))
    assert tuple(map(reader_of_documents, (tmp_path / "folder", zipped, tarred))) == readers


@pytest.mark.parametrize("name", ["c.zip", "c.tar.gz"])
def test_a_damaged_archive_is_a_problem_of_the_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError) as caught:
        reader_of_documents(tmp_path / name)
    assert caught.value.problems[0].key == str(tmp_path / name)

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtl import hashed_ids
from mtl.config.loading import parse_mixture
from mtl.hashed_ids import HASH_LENGTH, KEY_VARIABLE, hash_from_now_on, hashed, key_path, quoted_id, read_key, shown_id
from mtl.problems import InputError


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the key, which does not exist yet; ids are not hashed yet."""
    monkeypatch.setattr(hashed_ids._Process, "key", None)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "keys" / "id.key"))
    return tmp_path / "keys" / "id.key"


def test_an_id_is_its_hmac_sha256() -> None:
    # RFC 4231, test case 2
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hashed("what do ya want for nothing?", b"Jefe") == f"id-{expected[:HASH_LENGTH]}"


def test_the_key_is_created_once_for_its_owner_only(key_file: Path) -> None:
    hash_from_now_on()
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.parent.stat().st_mode & 0o777 == 0o700
    assert list(key_file.parent.iterdir()) == [key_file]
    assert read_key() == read_key(create=True) == bytes.fromhex(key_file.read_text())
    assert shown_id("p 1") == hashed("p 1", read_key())
    assert quoted_id("p 1") == f"'{shown_id('p 1')}'"


def test_processes_that_start_at_once_share_one_key(key_file: Path) -> None:
    code = "from mtl.hashed_ids import read_key; print(read_key(create=True).hex())"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate()[0].strip() for process in started}
    assert keys == {key_file.read_text().strip()}


def test_the_key_is_in_the_users_configuration_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_path() == tmp_path / "biomtl" / "id.key"


@pytest.mark.parametrize(
    ("content", "mode"), [("ab" * 32, 0o644), ("ab" * 32, 0o640), ("ab" * 8, 0o600), ("no key", 0o600), ("", 0o600)]
)
def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(content: str, mode: int, key_file: Path) -> None:
    key_file.parent.mkdir()
    key_file.write_text(content)
    key_file.chmod(mode)
    with pytest.raises(InputError) as caught:
        hash_from_now_on()
    assert [problem.key for problem in caught.value.problems] == [KEY_VARIABLE]
    assert key_file.read_text() == content


def test_a_key_in_the_folder_of_a_run_is_refused(tmp_path: Path, key_file: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        hash_from_now_on()
    assert [problem.key for problem in caught.value.problems] == [KEY_VARIABLE]
    assert not key_file.exists()


def test_a_key_is_created_once_where_files_cannot_be_linked(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    key = hashed_ids.read_key(create=True)
    assert hashed_ids.read_key() == key
    assert key_file.stat().st_mode & 0o777 == 0o600
    hashed_ids._create(key_file)  # as a process that found no key a moment ago
    assert hashed_ids.read_key() == key


def test_a_missing_key_is_created_only_by_a_run() -> None:
    with pytest.raises(InputError) as caught:
        read_key()
    assert [problem.key for problem in caught.value.problems] == [KEY_VARIABLE]


def test_a_mixture_turns_hashing_on_before_its_problems_are_shown(key_file: Path) -> None:
    with pytest.raises(InputError):
        parse_mixture({"privacy": {"hash_ids": False}})
    assert not hashed_ids.are_hashed()
    with pytest.raises(InputError):
        parse_mixture({"privacy": {"hash_ids": True}})
    assert hashed_ids.are_hashed()
    assert key_file.exists()


def test_a_folder_that_cannot_be_created_is_an_input_error(key_file: Path) -> None:
    key_file.parent.write_text("a file")
    with pytest.raises(InputError) as caught:
        hash_from_now_on()
    assert [problem.key for problem in caught.value.problems] == [KEY_VARIABLE]


def test_ids_of_mentions_and_excluded_documents_are_hashed_like_those_of_rows(tmp_path: Path) -> None:
    from mtl.evaluation.predictions import shared_copy
    from mtl.hashed_ids import without_ids

    mixture = {"tasks": {"a": {"data": {"exclude": ["patient17", "Mrs Smith of ward 3"]}}, "b": {"data": {}}}}
    assert without_ids(mixture)["tasks"]["a"]["data"]["exclude"] == ["patient17", "an id of 19 characters"]
    hash_from_now_on()
    hidden = {name: hashed(name, read_key()) for name in ("patient17", "patient17.e1", "Mrs Smith of ward 3")}
    assert without_ids(mixture)["tasks"]["a"]["data"]["exclude"] == [hidden["patient17"], hidden["Mrs Smith of ward 3"]]
    assert without_ids(mixture)["tasks"]["b"] == {"data": {}}
    made = tmp_path / "made.jsonl"
    relation = {"type": "effect", "head": "patient17.e1", "tail": "Fever was high."}
    made.write_text(json.dumps({"id": "patient17", "prediction": {"relations": [relation]}}) + "\n")
    shared = json.loads(shared_copy(made, tmp_path / "shared" / "made.jsonl", ["effect"]).read_text())
    assert shared["id"] == hidden["patient17"]
    assert shared["prediction"]["relations"] == [
        {"type": "effect", "head": hidden["patient17.e1"], "tail": "a text of 15 characters"}
    ]

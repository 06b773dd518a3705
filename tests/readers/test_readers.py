from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heads.rows import TextRow
from mtl.config.components import choices
from mtl.problems import InputError
from mtl.readers import Reader


class Lines(Reader):
    """One row per line, `id|text`; a line without a bar is malformed."""

    suffixes = (".lines", ".ln")

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        for number, line in self.lines(source):
            row_id, bar, text = line.partition("|")
            if bar:
                yield TextRow(row_id, row_id, text)
            else:
                self.bad(source, number, "a line must have a bar", f"{len(line)} characters")


@pytest.mark.parametrize("name", choices("reader"))
def test_every_reader_is_held_to_the_properties(name: str) -> None:
    test = Path(__file__).with_name(f"test_{name}.py").read_text(encoding="utf-8")
    assert "has.EVERY_READER" in test
    assert "has.assert_an_empty_file" in test


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        Lines(str(tmp_path / "nowhere")).sources()
    assert [problem.key for problem in raised.value.problems] == ["path"]
    assert str(tmp_path / "nowhere") in str(raised.value)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.lines", b"")
    files = {"train": "a.lines", "dev": "b.lines", "test": "c.lines"}
    with pytest.raises(InputError) as raised:
        Lines(str(tmp_path), files=files).sources()
    assert [problem.key for problem in raised.value.problems] == ["files.dev", "files.test"]


def test_a_folder_without_a_split_is_told_the_suffixes(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", b"")
    with pytest.raises(InputError) as raised:
        Lines(str(tmp_path)).sources()
    (problem,) = raised.value.problems
    assert (problem.key, ".lines, .ln" in problem.message) == ("path", True)


@pytest.mark.parametrize("name", ["dev", "validation", "devel", "valid"])
def test_dev_may_be_called(name: str, tmp_path: Path) -> None:
    train = write(tmp_path / "train.lines", b"")
    dev = write(tmp_path / f"{name}.ln", b"")
    assert Lines(str(tmp_path)).sources() == {"train": train, "dev": dev}


def test_a_single_file_is_the_training_split(tmp_path: Path) -> None:
    file = write(tmp_path / "anything.txt", b"")
    assert Lines(str(file)).sources() == {"train": file}


def test_files_are_relative_to_the_path_and_name_the_splits(tmp_path: Path) -> None:
    write(tmp_path / "x.txt", b"1|a\n")
    assert [row.text for row in Lines(str(tmp_path), files={"test": "x.txt"}).read("test")] == ["a"]


def test_all_problems_are_collected_after_the_whole_file_was_read(tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", b"1|a\nbroken\n2|b\nbroken too\n3|\xff\n4|c\n1|again\n")
    reader = Lines(str(file))
    rows = []
    with pytest.raises(InputError) as raised:
        rows.extend(row.id for row in reader.read("train"))
    assert [problem.key for problem in raised.value.problems] == [f"{file}:2", f"{file}:5", str(file)]
    assert "2 lines: 2, 4" in raised.value.problems[0].message
    assert all("on_bad_row: skip" in problem.suggestion for problem in raised.value.problems)


def test_refused_rows_are_left_out_counted_and_listed(tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", b"1|a\nbroken\n2|b\n3|\xff\n1|again\n")
    reader = Lines(str(file), on_bad_row="skip")
    used = list(reader.read("train"))
    assert [row.id for row in used] == ["1", "2"]
    assert len(used) + len(reader.bad_rows) == 5
    assert [(bad.file, bad.line) for bad in reader.bad_rows] == [(str(file), 2), (str(file), 4), (str(file), None)]
    assert reader.bad_rows[1].found == "byte 0xff at position 2"
    assert str(reader.bad_rows[0]) == f"{file}:2: a line must have a bar, got 6 characters"


def test_the_first_of_two_rows_with_one_id_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", b"1|first\n1|second\n")
    assert [row.text for row in Lines(str(file), on_bad_row="skip").read("train")] == ["first"]


def test_two_splits_may_use_the_same_id(tmp_path: Path) -> None:
    write(tmp_path / "train.lines", b"1|a\n")
    write(tmp_path / "test.lines", b"1|b\n")
    reader = Lines(str(tmp_path))
    assert [row.id for split in ("train", "test") for row in reader.read(split)] == ["1", "1"]


def test_a_bad_split_does_not_stop_another(tmp_path: Path) -> None:
    write(tmp_path / "train.lines", b"broken\n")
    write(tmp_path / "test.lines", b"1|b\n")
    reader = Lines(str(tmp_path))
    with pytest.raises(InputError):
        list(reader.read("train"))
    assert [row.id for row in reader.read("test")] == ["1"]


def test_crlf_and_a_byte_order_mark_leave_no_trace(tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", b"\xef\xbb\xbf1|a\r\n2|b\r\n")
    assert list(Lines(str(file)).lines(file)) == [(1, "1|a"), (2, "2|b")]


def test_a_line_that_is_not_utf8_is_only_in_all_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", b"\xef\xbb\xbf1|a\xff\n2|b\n")
    reader = Lines(str(file))
    assert [line.number for line in reader.all_lines(file) if not line.is_valid] == [1]
    assert list(reader.lines(file)) == [(2, "2|b")]
    assert [(bad.line, bad.found) for bad in reader.bad_rows] == [(1, "byte 0xff at position 3")] * 2


def test_an_invalid_byte_of_a_file_is_reported_with_its_line(tmp_path: Path) -> None:
    reader = Lines("")
    assert reader.decode(b"\xef\xbb\xbfab\ncd", tmp_path) == "ab\ncd"
    assert reader.decode(b"ab\ncd\n\xe4f", tmp_path) is None
    assert [(bad.line, bad.found) for bad in reader.bad_rows] == [(3, "byte 0xe4 at position 0")]


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    text = "1|a\u2028b\u0085c\x0bd\re\n2|\u00a0f"
    file = write(tmp_path / "x.lines", text.encode())
    assert [line for _, line in Lines(str(file)).lines(file)] == ["1|a\u2028b\u0085c\x0bd\re", "2|\u00a0f"]


@pytest.mark.parametrize(("name", "usual"), [("cp1252", "cp1252"), ("Latin-1", "iso8859-1"), ("UTF8", "utf-8")])
def test_text_may_have_another_encoding(name: str, usual: str, tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", "1|na\u00efve\n".encode(name))
    reader = Lines(str(file), encoding=name)
    assert reader.encoding == usual
    assert [row.text for row in reader.read("train")] == ["na\u00efve"]


@pytest.mark.parametrize(
    "name", ["cp1253x", "utf-16", "rot13", "unicode_escape", "raw-unicode-escape", "utf-7", "idna"]
)
def test_an_encoding_must_extend_ascii(name: str) -> None:
    with pytest.raises(InputError) as raised:
        Lines("", encoding=name)
    assert [problem.key for problem in raised.value.problems] == ["encoding"]


def test_an_error_of_decoding_names_the_option(tmp_path: Path) -> None:
    file = write(tmp_path / "x.lines", b"1|na\xefve\n")
    reader = Lines(str(file), on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert "encoding: cp1252" in reader.bad_rows[0].rule
    reader = Lines(str(write(file, b"1|\x81\n")), on_bad_row="skip", encoding="cp1252")
    assert list(reader.read("train")) == []
    assert "cp1252" in reader.bad_rows[0].rule


def test_a_file_of_utf_16_is_named(tmp_path: Path) -> None:
    reader = Lines(str(write(tmp_path / "x.lines", "1|a\n".encode("utf-16"))), on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert "UTF-16" in reader.bad_rows[0].found

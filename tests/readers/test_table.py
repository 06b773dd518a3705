from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heads.rows import TextRow
from mtl.problems import InputError
from mtl.readers.table import Table
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample


def stored(**columns: Any) -> bytes:
    """The columns as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=2)
    return file.getvalue()


SAMPLES = {
    "tsv": Sample(
        Table,
        files={"train.tsv": "text\tlabel\nZaphod a\tyes\nZaphod b\tno\nZaphod c\tyes\n"},
        rows=("yes", "no", "yes"),
        malformed=(
            Malformed("train.tsv", "Zaphod b\tno", "Zaphod b", 3),
            Malformed("train.tsv", "Zaphod b\tno", "Zaphod b\tno\t", 3),
            Malformed("train.tsv", "Zaphod b\tno", "\tno", 3),
        ),
        headers=frozenset({"train.tsv"}),
    ),
    "csv": Sample(
        Table,
        files={"train.csv": 'text,label\n"Zaphod, a",1\nZaphod b,2\n"Zaphod is\nc",3\n'},
        rows=(1.0, 2.0, 3.0),
        options={"label_type": "number"},
        malformed=(
            Malformed("train.csv", "Zaphod b,2", "Zaphod b,high", 3),
            Malformed("train.csv", "Zaphod b,2", "Zaphod b,nan", 3),
            Malformed("train.csv", "Zaphod b,2", '"Zaphod"b,2', 3),
            Malformed("train.csv", '"Zaphod is\nc",3', '"Zaphod is\nc"', 4),
            Malformed("train.csv", '"Zaphod is\nc",3', '"Zaphod is\nc,3', 4),
        ),
        headers=frozenset({"train.csv"}),
    ),
    "parquet": Sample(
        Table,
        files={"train.parquet": stored(text=["Zaphod a", "Zaphod b", "Zaphod c"], label=[["x", "y"], [], None])},
        rows=(("x", "y"), (), None),
        options={"label_type": "list"},
    ),
}


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("has_property", [*has.EVERY_READER, has.assert_an_empty_file_is_an_error])
def test_property(has_property: Callable[..., None], kind: str, tmp_path: Path) -> None:
    has_property(SAMPLES[kind], tmp_path)


@pytest.mark.parametrize("kind", ["tsv", "csv"])
@pytest.mark.parametrize("has_property", has.TEXT_FILES)
def test_property_of_text_files(has_property: Callable[..., None], kind: str, tmp_path: Path) -> None:
    has_property(SAMPLES[kind], tmp_path)


def table(folder: Path, name: str, content: str, **options: Any) -> Table:
    (folder / name).write_bytes(content.encode("utf-8"))
    return Table(str(folder), files={"train": name}, **options)


def read(folder: Path, name: str, content: str, **options: Any) -> list[TextRow]:
    rows = list(table(folder, name, content, **options).read("train"))
    assert all(isinstance(row, TextRow) for row in rows)
    return rows


def keys(folder: Path, name: str, content: str, **options: Any) -> list[str]:
    """The keys of the problems of a table that cannot be read at all."""
    with pytest.raises(InputError) as raised:
        read(folder, name, content, **options)
    return [problem.key for problem in raised.value.problems]


def test_a_field_may_be_longer_than_pythons_own_limit(tmp_path: Path) -> None:
    note = "fever " * 30_000
    assert [row.text for row in read(tmp_path, "x.csv", f"text,label\n{note},yes\n")] == [note]


@pytest.mark.parametrize("option", [{"delimiter": ";;"}, {"delimiter": ""}, {"label_separator": ""}])
def test_what_can_not_separate_is_refused_by_its_key(option: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        table(tmp_path, "x.csv", "text,label\n", **option)
    assert [problem.key for problem in caught.value.problems] == list(option)


def test_lines_with_the_same_problem_are_reported_once(tmp_path: Path) -> None:
    lines = [f"text {n},{'x' if n % 2 else n}" for n in range(20)]
    with pytest.raises(InputError) as caught:
        read(tmp_path, "x.csv", "\n".join(["text,label", *lines]), label_type="number")
    (problem,) = caught.value.problems
    assert problem.key.endswith("x.csv:3")
    assert "10 lines: 3, 5, 7, 9, 11, …" in problem.message


def test_columns_feed_the_fields_and_meta(tmp_path: Path) -> None:
    content = "nr\tdoc\ts1\ts2\tlabel\tsite\n7\td1\ta\tb\tyes\tx\n8\td1\tc\t\t\ty\n"
    columns = {"id": "nr", "document": "doc", "text": "s1", "text_pair": "s2"}
    assert read(tmp_path, "x.tsv", content, columns=columns, meta=["site"]) == [
        TextRow("7", "d1", "a", "b", "yes", {"site": "x"}),
        TextRow("8", "d1", "c", None, None, {"site": "y"}),
    ]


def test_the_default_id_is_the_line_and_the_document_is_the_id(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", "text,label\na,1\n\nb,0\n") == [
        TextRow("train-2", "train-2", "a", label="1"),
        TextRow("train-4", "train-4", "b", label="0"),
    ]


def test_a_file_without_header_has_numbered_columns(tmp_path: Path) -> None:
    rows = read(
        tmp_path, "x.tsv", "p1\ta\tyes\np2\tb\tno\n", header=False, columns={"id": "0", "text": "1", "label": "2"}
    )
    assert rows == [TextRow("p1", "p1", "a", label="yes"), TextRow("p2", "p2", "b", label="no")]


@pytest.mark.parametrize("text", ["NA", "null", "None", "nan", "NULL", "#N/A", "-", "1", "true"])
def test_no_text_means_missing(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, "x.tsv", f"text\tlabel\n{text}\t{text}\n") == [
        TextRow("train-2", "train-2", text, label=text)
    ]


def test_quotes_are_text_in_a_tsv(tmp_path: Path) -> None:
    assert [row.text for row in read(tmp_path, "x.tsv", 'text\tlabel\n"\tO\n"a" b\t1\n5" c\t"x"\n')] == [
        '"',
        '"a" b',
        '5" c',
    ]


def test_quotes_hold_fields_together_in_a_csv(tmp_path: Path) -> None:
    content = 'text,label\n"a, ""b""",1\n"two\nlines",0\nlast,1\n'
    assert read(tmp_path, "x.csv", content) == [
        TextRow("train-2", "train-2", 'a, "b"', label="1"),
        TextRow("train-3", "train-3", "two\nlines", label="0"),
        TextRow("train-5", "train-5", "last", label="1"),
    ]


def test_quoting_can_be_stated_for_either_format(tmp_path: Path) -> None:
    assert read(tmp_path, "x.tsv", 'text\tlabel\n"a\tb"\t1\n', quoting=True)[0].text == "a\tb"
    assert read(tmp_path, "x.csv", 'text,label\n"a",1\n', quoting=False)[0].text == '"a"'


def test_what_pythons_writer_wrote_is_read_back(tmp_path: Path) -> None:
    texts = ['"', '""', "a\nb", ",", "", " x ", 'a "b", c', "\t", "é\u2028"]
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"-{text}", text] for text in texts)
    rows = list(Table(str(tmp_path / "x.csv")).read("train"))
    assert [(row.text, row.label or "") for row in rows] == [(f"-{text}", text) for text in texts]


def test_the_delimiter_can_be_stated(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", "text;label\na,b;1\n", delimiter=";")[0].text == "a,b"


def test_the_format_can_be_stated(tmp_path: Path) -> None:
    assert read(tmp_path, "x.dat", "text\tlabel\na\t1\n", format="tsv")[0].text == "a"
    assert keys(tmp_path, "x.dat", "text\tlabel\na\t1\n") == ["format"]


def test_all_missing_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, "x.tsv", "sentence\tscore\na\t1\n", columns={"text": "sentense", "label": "gold"}, meta=["site"])
    assert [problem.key for problem in raised.value.problems] == ["columns.text", "columns.label", "meta"]
    assert raised.value.problems[0].suggestion == "Did you mean 'sentence'? Choices: score, sentence."


def test_a_missing_column_stops_even_where_bad_rows_are_skipped(tmp_path: Path) -> None:
    assert keys(tmp_path, "x.tsv", "sentence\na\n", on_bad_row="skip") == ["columns.text"]


def test_a_file_without_a_header_shows_no_text_of_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, "x.tsv", "7\tZaphod has a fever.\tyes\n", columns={"label": "gold"})
    assert [problem.key for problem in raised.value.problems] == ["columns.text", "columns.label"]
    assert "Zaphod" not in str(raised.value)
    assert not any(word in str(raised.value) for word in ("Choices", "yes"))
    assert all("3 columns" in problem.suggestion for problem in raised.value.problems)


def test_of_a_header_only_names_that_look_like_names_are_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, "x.tsv", "id\tsentence\tComment of the nurse\n", columns={"text": "sentense"})
    (problem,) = raised.value.problems
    assert "'sentence'" in problem.suggestion
    assert "nurse" not in problem.suggestion


def test_an_id_column_that_is_the_text_column_shows_no_text(tmp_path: Path) -> None:
    lines = "note\nZaphod has a fever.\nZaphod has a fever.\n"
    with pytest.raises(InputError) as raised:
        read(tmp_path, "x.tsv", lines, columns={"id": "note", "text": "note"})
    assert "Zaphod" not in str(raised.value)
    assert "19 characters" in str(raised.value)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert keys(tmp_path, "x.tsv", "text\ttext\na\tb\n") == ["columns.text"]


def test_columns_may_only_name_fields(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        Table(str(tmp_path), columns={"lable": "gold"})
    (problem,) = raised.value.problems
    assert (problem.key, "'label'" in problem.suggestion) == ("columns.lable", True)


def test_an_unreadable_header_is_never_replaced_by_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(b"text\xff\tlabel\na\tb\n")
    with pytest.raises(InputError) as raised:
        list(Table(str(tmp_path), on_bad_row="skip").read("train"))
    assert [problem.key for problem in raised.value.problems] == [str(tmp_path / "train.tsv")]


def test_broken_quotes_are_named_and_reading_continues(tmp_path: Path) -> None:
    reader = table(tmp_path, "x.csv", 'text,label\n"a"b,1\nc,1\n"d,1\ne,1\n', on_bad_row="skip")
    assert [row.text for row in reader.read("train")] == ["c"]
    assert [bad.line for bad in reader.bad_rows] == [2, 4]
    assert all("quoting: false" in bad.rule for bad in reader.bad_rows)


def test_a_line_that_is_not_utf8_takes_its_whole_record_along(tmp_path: Path) -> None:
    for line, record in enumerate((b'"a\xff\nb\nc",1', b'"a\nb\xff\nc",1', b'"a\nb\nc\xff",1'), start=2):
        (tmp_path / "train.csv").write_bytes(b"text,label\n" + record + b"\nd,0\n")
        reader = Table(str(tmp_path), on_bad_row="skip")
        assert [row.text for row in reader.read("train")] == ["d"]
        assert [bad.line for bad in reader.bad_rows] == [line]


def test_a_number_is_finite_and_spelt_as_one(tmp_path: Path) -> None:
    content = "text\tlabel\na\t1.5\nb\t\nc\tnan\nd\tinf\ne\thigh\nf\t-2e-1\n"
    reader = table(tmp_path, "x.tsv", content, label_type="number", on_bad_row="skip")
    assert [(row.text, row.label) for row in reader.read("train")] == [("a", 1.5), ("b", None), ("f", -0.2)]
    assert [bad.line for bad in reader.bad_rows] == [4, 5, 6]


def test_a_list_is_cut_at_its_separator(tmp_path: Path) -> None:
    content = "text\tlabel\na\tx; y\nb\tx\nc\t;\nd\t\n"
    rows = read(tmp_path, "x.tsv", content, label_type="list", label_separator=";")
    assert [row.label for row in rows] == [("x", "y"), ("x",), (), None]


def test_a_list_with_an_empty_name_is_malformed(tmp_path: Path) -> None:
    reader = table(tmp_path, "x.tsv", "text\tlabel\na\tx,,y\n", label_type="list", on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert [bad.line for bad in reader.bad_rows] == [2]


# --- parquet --------------------------------------------------------------------------------------------------------


def parquet(folder: Path, columns: dict[str, Any], **options: Any) -> Table:
    (folder / "train.parquet").write_bytes(stored(**columns))
    return Table(str(folder), **options)


def test_parquet_gives_rows_across_row_groups(tmp_path: Path) -> None:
    columns = {"text": ["a", "NA", "c"], "label": [0, 1, None], "year": [2019, None, 2021], "other": [b"x"] * 3}
    assert list(parquet(tmp_path, columns, meta=["year"]).read("train")) == [
        TextRow("train-1", "train-1", "a", label="0", meta={"year": "2019"}),
        TextRow("train-2", "train-2", "NA", label="1"),
        TextRow("train-3", "train-3", "c", meta={"year": "2021"}),
    ]


def test_parquet_keeps_numbers(tmp_path: Path) -> None:
    numbers = parquet(
        tmp_path, {"text": ["a", "b"], "label": [0.5, float("nan")]}, label_type="number", on_bad_row="skip"
    )
    assert [row.label for row in numbers.read("train")] == [0.5]
    assert [bad.line for bad in numbers.bad_rows] == [2]


@pytest.mark.parametrize(("label_type", "value"), [("text", True), ("text", 0.5), ("text", ["x"]), ("list", 0.5)])
def test_a_parquet_label_of_another_kind_is_malformed(label_type: str, value: Any, tmp_path: Path) -> None:
    reader = parquet(tmp_path, {"text": ["a"], "label": [value]}, label_type=label_type, on_bad_row="skip")
    assert list(reader.read("train")) == []
    assert [bad.line for bad in reader.bad_rows] == [1]


def test_a_missing_parquet_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        list(parquet(tmp_path, {"txt": ["a"]}).read("train"))
    (problem,) = raised.value.problems
    assert (problem.key, "'txt'" in problem.suggestion) == ("columns.text", True)


def test_a_parquet_text_that_is_not_utf8_is_an_error_of_its_file(tmp_path: Path) -> None:
    import pyarrow as pa

    raw = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())
    with pytest.raises(InputError) as raised:
        list(parquet(tmp_path, {"text": raw}).read("train"))
    assert [problem.key for problem in raised.value.problems] == [str(tmp_path / "train.parquet")]


# --- public data ----------------------------------------------------------------------------------------------------


def documented(folder: Path, dataset: str, unit: str) -> dict[tuple[str, str], int]:
    """Counts by split and what follows the unit's name."""
    with (folder / "counts.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == dataset]
    return {
        (row["split"], row["unit"].removeprefix(unit).removeprefix(":")): int(row["count"])
        for row in rows
        if row["unit"].startswith(unit)
    }


def counted(reader: Table) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for split in reader.sources():
        for row in reader.read(split):
            assert isinstance(row, TextRow)
            counts[split, ""] += 1
            counts[split, str(row.label)] += 1
    return dict(counts)


def test_gad_gives_the_documented_counts(data_folder: Path) -> None:
    reader = Table(str(data_folder / "gad" / "blurb"), columns={"id": "index", "text": "sentence"})
    assert counted(reader) == documented(data_folder, "gad/blurb", "rows")


def test_chemprot_gives_the_documented_counts_with_quoting_on(data_folder: Path) -> None:
    reader = Table(str(data_folder / "chemprot" / "bio_electra"), columns={"text": "sentence"}, quoting=True)
    assert counted(reader) == documented(data_folder, "chemprot/bio_electra", "rows")


def test_biosses_gives_the_documented_counts_and_its_range(data_folder: Path) -> None:
    columns = {"id": "pair_id", "text": "sent1", "text_pair": "sent2", "label": "score"}
    reader = Table(str(data_folder / "biosses" / "blurb"), columns=columns, label_type="number")
    rows = {split: list(reader.read(split)) for split in reader.sources()}
    assert {(split, ""): len(rows[split]) for split in rows} == documented(data_folder, "biosses/blurb", "pairs")
    scores = [row.label for split in rows for row in rows[split]]
    assert (min(scores), max(scores)) == (0.0, 4.0)
    assert all(row.text_pair for split in rows for row in rows[split])


def test_ehr_rel_b_gives_the_documented_count_with_quoting_on(data_folder: Path) -> None:
    columns = {"text": "snomed_label_1", "text_pair": "snomed_label_2", "label": "mean_rating"}
    options: dict[str, Any] = {"columns": columns, "meta": ["snomed_id_1", "snomed_id_2"], "label_type": "number"}
    rows = list(Table(str(data_folder / "ehr_rel" / "EHR-RelB.tsv"), quoting=True, **options).read("train"))
    assert len(rows) == documented(data_folder, "ehr_rel/EHR-RelB", "pairs")["all", ""]
    assert not any('""' in row.text or row.text.startswith('"') for row in rows)
    assert all(row.meta["snomed_id_1"].isdigit() for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "written"),
    [
        ("train.csv", "text;label\nFever.;a\n", '";"'),
        ("train.csv", "text\tlabel\nFever.\ta\n", '"\\t"'),
        ("train.tsv", "text,label\nFever.,a\n", '","'),
    ],
)
def test_another_delimiter_is_named(name: str, content: str, written: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, name, content)
    (problem,) = raised.value.problems
    assert (problem.key, f"delimiter: {written}" in problem.suggestion) == ("delimiter", True)
    delimiter = {'"\\t"': "\t"}.get(written, written.strip('"'))
    assert [row.label for row in read(tmp_path, name, content, delimiter=delimiter)] == ["a"]


def test_a_table_without_a_header_gets_the_option(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, "train.csv", "Zaphod had fever.,a\nNone.,b\n")
    (problem,) = raised.value.problems
    assert "header: false" in problem.suggestion
    assert "Zaphod" not in str(raised.value)


def test_a_table_that_excel_saved_on_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes("text,label\nSjögren – naïve,a\n".encode("cp1252"))
    with pytest.raises(InputError) as raised:
        list(Table(str(tmp_path)).read("train"))
    assert "encoding: cp1252" in str(raised.value)
    (row,) = Table(str(tmp_path), encoding="cp1252").read("train")
    assert row.text == "Sjögren – naïve"


def test_decimal_commas_need_their_option(tmp_path: Path) -> None:
    lines = "text;label\na;0,5\nb;2\n"
    found = read(tmp_path, "x.csv", lines, delimiter=";", label_type="number", decimal=",")
    assert [row.label for row in found] == [0.5, 2.0]
    with pytest.raises(InputError, match="decimal"):
        read(tmp_path, "x.csv", lines, delimiter=";", label_type="number")
    with pytest.raises(InputError):
        read(tmp_path, "x.csv", lines.replace("0,5", "1.000,5"), delimiter=";", label_type="number", decimal=",")


def test_quotes_that_are_not_expected_are_named_where_fields_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text('text\tlabel\n"No fever.\nNo rash."\twell\n', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        list(Table(str(path)).read("train"))
    assert "quoting: true" in str(caught.value)
    assert [row.label for row in Table(str(path), quoting=True).read("train")] == ["well"]
    path.write_text("text\tlabel\nNo fever.\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        list(Table(str(path)).read("train"))
    assert "quoting" not in str(caught.value)


def test_a_spreadsheet_is_to_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "train.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(InputError) as caught:
        list(Table(str(path)).read("train"))
    assert "CSV" in caught.value.problems[0].suggestion


def test_a_missing_folder_is_the_problem_and_not_each_of_its_files(tmp_path: Path) -> None:
    reader = Table(str(tmp_path / "none"), files={"train": "a.csv", "dev": "b.csv"})
    with pytest.raises(InputError) as caught:
        reader.sources()
    assert [problem.key for problem in caught.value.problems] == ["path"]

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.rows import Row, SpanRow, TextRow
from mtl.code_identity import definitions, modules
from mtl.config.mixture import DataSpec
from mtl.data import reading
from mtl.data.reading import LISTED, SHOWN_DOCUMENTS, RowSummary, documents_within, read_rows
from mtl.data.store import RowTable, Store
from mtl.problems import InputError, Problem

KEY = "tasks.gad.data"


def lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def texts(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {n}", "label": "a", **fields} for n in range(number)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    for split, number in (("train", 6), ("dev", 3), ("test", 2)):
        lines(tmp_path / "rows" / f"{split}.jsonl", texts(number))
    return tmp_path / "rows"


def read(tmp_path: Path, path: Any, **options: Any) -> dict[str, tuple[RowTable, RowSummary]]:
    spec = DataSpec(**{"reader": "jsonl", "path": path if isinstance(path, dict) else str(path), **options})
    return read_rows(spec, KEY, Store(tmp_path / "cache"))


def refused(*arguments: Any, **options: Any) -> list[Problem]:
    with pytest.raises(InputError) as error:
        read(*arguments, **options)
    return error.value.problems


# --- counts ---------------------------------------------------------------------------------------------------------


def test_every_split_is_read_and_counted(tmp_path: Path, rows: Path) -> None:
    found = read(tmp_path, rows)
    assert {split: (len(table), summary.rows, summary.documents) for split, (table, summary) in found.items()} == {
        "train": (6, 6, 6),
        "dev": (3, 3, 3),
        "test": (2, 2, 2),
    }
    assert [row.text for row in found["dev"][0]] == ["text 0", "text 1", "text 2"]


def test_a_missing_test_split_is_never_filled_from_dev(tmp_path: Path, rows: Path) -> None:
    (rows / "test.jsonl").unlink()
    assert list(read(tmp_path, rows)) == ["train", "dev"]


def test_refused_rows_are_counted_and_the_first_are_listed(tmp_path: Path, rows: Path) -> None:
    lines(rows / "train.jsonl", ["no json", *texts(2)] + ["no json"] * LISTED)
    table, summary = read(tmp_path, rows, on_bad_row="skip")["train"]
    assert (len(table), summary.rows, summary.num_refused, len(summary.refused)) == (2, 2, LISTED + 1, LISTED)
    assert summary.refused[0].startswith(f"{rows / 'train.jsonl'}:1: ")
    assert not any("no json" in line for line in summary.refused)


def test_malformed_rows_of_all_splits_are_reported_together_one_problem_per_cause(tmp_path: Path, rows: Path) -> None:
    lines(rows / "train.jsonl", [" " * n + "no json" for n in range(66)])  # each has its error at another position
    lines(rows / "dev.jsonl", [*texts(1), "no json", '{"text": ""}'])
    found = refused(tmp_path, rows)
    assert [problem.key for problem in found] == [
        f"{rows / 'train.jsonl'}:1",
        f"{rows / 'dev.jsonl'}:2",
        f"{rows / 'dev.jsonl'}:3",
    ]
    assert "66 lines" in found[0].message


def test_what_a_reader_adjusts_is_counted(tmp_path: Path, rows: Path) -> None:
    entity = {"id": "T1", "type": "Dx", "spans": [[0, 6]]}
    lines(rows / "train.jsonl", [json.dumps({"text": "fever .", "entities": [entity]})] * 3)
    assert list(read(tmp_path, rows)["train"][1].adjusted.values()) == [3]


def test_texts_with_several_labels_are_counted(tmp_path: Path, rows: Path) -> None:
    content = [("A b", "x"), ("a  b", "y"), ("a b", "y"), ("c", "x"), ("c", "x"), ("d", None), ("d", "x")]
    lines(rows / "train.jsonl", [json.dumps({"text": text, "label": label}) for text, label in content])
    assert read(tmp_path, rows)["train"][1].contradictory == 1


def pubmedqa(folder: Path, number: int, **splits: list[str]) -> dict[str, str]:
    question = {"QUESTION": "Why?", "CONTEXTS": ["So."], "final_decision": "yes"}
    (folder / "q.json").write_text(json.dumps({str(n): question for n in range(number)}))
    (folder / "s.json").write_text(json.dumps(splits))
    return {"reader": "pubmedqa", "questions": "q.json", "splits": "s.json"}


def test_what_a_reader_leaves_out_is_counted_by_reason(tmp_path: Path) -> None:
    options = pubmedqa(tmp_path, 5, train=["0"], dev=["1"], test=["2"])
    assert read(tmp_path, tmp_path, **options)["train"][1].left_out == {"question in no split": 2}


# --- splits ---------------------------------------------------------------------------------------------------------


def test_a_divided_split_gives_each_row_to_one_split_in_the_original_order(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", [{**row, "document": f"d{n // 2}"} for n, row in enumerate(texts(40))])
    split = {"fractions": {"test": 0.25, "dev": 0.25, "train": 0.5}}
    found = read(tmp_path, source, split=split)
    assert list(found) == ["train", "dev", "test"]
    assert {name: len(table) for name, (table, _) in found.items()} == {"train": 20, "dev": 10, "test": 10}
    documents = {name: {row.document for row in table} for name, (table, _) in found.items()}
    assert not documents["train"] & documents["dev"] | documents["dev"] & documents["test"]
    assert sorted(row.id for table, _ in found.values() for row in table) == sorted(f"train-{n + 1}" for n in range(40))


def test_every_row_is_in_test_of_one_fold(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", texts(20))
    tests = []
    for fold in range(4):
        found = read(tmp_path, source, split={"folds": 4, "fold": fold})
        assert {name: summary.rows for name, (_, summary) in found.items()} == {"train": 10, "dev": 5, "test": 5}
        tests += [row.id for row in found["test"][0]]
    assert sorted(tests) == sorted(f"train-{n + 1}" for n in range(20))


def test_folds_need_data_in_a_single_split(tmp_path: Path, rows: Path) -> None:
    (problem,) = refused(tmp_path, rows, split={"folds": 3})
    assert problem.key == f"{KEY}.split.folds"


def test_rows_whose_groups_cross_are_dropped_and_counted(tmp_path: Path) -> None:
    pairs = [(f"c{i}", f"c{j}") for i in range(8) for j in range(i + 1, 8)]
    rows = [{"text": "x", "meta": {"one": one, "two": two}} for one, two in pairs]
    source = lines(tmp_path / "all.jsonl", rows)
    split = {"by": ["one", "two"], "fractions": {"train": 0.5, "dev": 0.5}}
    found = read(tmp_path, source, split=split)
    # Four concepts on each side: 6 pairs within either, 16 across.
    assert [(summary.rows, summary.crossed) for _, summary in found.values()] == [(6, 16), (6, 16)]


def test_refused_rows_of_a_divided_source_are_counted_once_per_split(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", ["no json", *texts(10)])
    found = read(tmp_path, source, on_bad_row="skip", split={"fractions": {"train": 0.5, "dev": 0.5}})
    assert [(summary.rows, summary.num_refused) for _, summary in found.values()] == [(5, 1), (5, 1)]


def test_a_problem_of_a_divided_source_is_reported_once(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", ["no json", *texts(10)])
    (problem,) = refused(tmp_path, source, split={"fractions": {"train": 0.5, "dev": 0.5}})
    assert problem.key == f"{source}:1"


@pytest.mark.parametrize(
    ("split", "key", "part"),
    [
        ({"fractions": {"train": 0.8, "dev": 0.1}}, "fractions", "0.9"),
        ({"by": "site", "fractions": {"train": 0.5, "dev": 0.5}}, "by", "'site', got 6 "),
        ({"source": "test", "fractions": {"train": 0.5, "test": 0.5}}, "source", "'test'"),
    ],
)
def test_an_impossible_split_is_reported_with_its_key(tmp_path: Path, split: Any, key: str, part: str) -> None:
    source = lines(tmp_path / "all.jsonl", texts(6))
    (problem,) = refused(tmp_path, source, split=split)
    assert problem.key == f"{KEY}.split.{key}"
    assert part in problem.message


def test_a_split_with_its_own_file_cannot_be_cut_from_another(tmp_path: Path, rows: Path) -> None:
    (problem,) = refused(tmp_path, rows, split={"fractions": {"train": 0.5, "dev": 0.5}})
    assert problem.key == f"{KEY}.split.fractions.dev"
    assert "'train'" in problem.message


def test_two_splits_cannot_read_all_of_the_same_file(tmp_path: Path, rows: Path) -> None:
    (rows / "same.jsonl").symlink_to(rows / "train.jsonl")
    (problem,) = refused(tmp_path, rows, files={"train": "train.jsonl", "dev": "dev.jsonl", "test": "same.jsonl"})
    assert (problem.key, "'train' and 'test'" in problem.message) == (KEY, True)
    (problem,) = refused(tmp_path, {name: str(rows / "dev.jsonl") for name in ("dev", "test")})
    assert "'dev' and 'test'" in problem.message


# --- limit ----------------------------------------------------------------------------------------------------------

Sizes = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 9), min_size=1, max_size=20)


@given(sizes=Sizes, most=st.integers(1, 60), seed=st.integers(0, 3))
@settings(deadline=None)
def test_a_limit_is_respected_and_no_document_that_fits_is_left_out(
    sizes: dict[str, int], most: int, seed: int
) -> None:
    if min(sizes.values()) > most:
        with pytest.raises(InputError, match=rf"limit\.train: must be at least {min(sizes.values())},.* got {most}\."):
            documents_within(sizes, most, seed, "train")
        return
    taken = documents_within(sizes, most, seed, "train")
    number = sum(sizes[document] for document in taken)
    assert 0 < number <= most
    assert all(number + size > most for document, size in sizes.items() if document not in taken)


def test_a_limited_choice_depends_on_seed_and_split_but_not_on_the_order_of_rows() -> None:
    sizes = {f"d{n}": 1 + n % 3 for n in range(60)}
    backwards = dict(reversed(sizes.items()))
    drawn = {(seed, split): documents_within(sizes, 40, seed, split) for seed in (0, 1) for split in ("train", "dev")}
    assert drawn == {key: documents_within(backwards, 40, *key) for key in drawn}
    assert len(set(drawn.values())) == 4


def test_every_document_is_as_likely_to_be_drawn() -> None:
    sizes = {f"d{n}": 1 for n in range(10)}
    taken = [document for seed in range(400) for document in documents_within(sizes, 5, seed, "train")]
    assert all(160 < taken.count(document) < 240 for document in sizes)  # 200, with a deviation of 10


def in_documents(number: int, size: int) -> list[dict[str, Any]]:
    return [{**row, "document": f"d{n // size}"} for n, row in enumerate(texts(number))]


def test_a_limit_keeps_whole_documents_in_the_order_of_the_file_and_counts_the_others(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        lines(tmp_path / f"{split}.jsonl", [*in_documents(30, 3), "no json"])
    options: dict[str, Any] = {"on_bad_row": "skip"}
    whole = read(tmp_path, tmp_path, **options)
    found = read(tmp_path, tmp_path, limit={"train": 10}, **options)
    table, summary = found["train"]
    assert (len(table), summary.rows, summary.documents, summary.limited, summary.excluded) == (9, 9, 3, 21, 0)
    assert summary.num_refused == 1
    kept = {row.document for row in table}
    assert list(table) == [row for row in whole["train"][0] if row.document in kept]
    assert found["dev"][1] == whole["dev"][1]
    others = [list(read(tmp_path, tmp_path, limit={"train": 10, "seed": s}, **options)["train"][0]) for s in (0, 1)]
    assert others[0] == list(table) != others[1]


def test_a_limit_above_the_number_of_rows_changes_nothing(tmp_path: Path, rows: Path) -> None:
    assert contents(read(tmp_path, rows, limit={"train": 6, "test": 99})) == contents(read(tmp_path, rows))


def test_a_limit_applies_after_a_split_is_divided(tmp_path: Path) -> None:
    pairs = [(f"c{i}", f"c{j}") for i in range(8) for j in range(i + 1, 8)]
    source = lines(tmp_path / "all.jsonl", [{"text": "x", "meta": {"one": one, "two": two}} for one, two in pairs])
    split = {"by": ["one", "two"], "fractions": {"train": 0.5, "dev": 0.5}}
    whole, found = (read(tmp_path, source, split=split, **limit) for limit in ({}, {"limit": {"train": 4, "dev": 5}}))
    for name, most in (("train", 4), ("dev", 5)):
        table, summary = found[name]
        assert (summary.rows, summary.limited, summary.crossed) == (most, 6 - most, 16)
        assert {row.id for row in table} < {row.id for row in whole[name][0]}


def test_a_limit_below_the_smallest_document_is_reported_with_its_key(tmp_path: Path) -> None:
    source = lines(tmp_path / "train.jsonl", in_documents(8, 4))
    (problem,) = refused(tmp_path, source, limit={"train": 3})
    assert problem.key == f"{KEY}.limit.train"
    assert "at least 4" in problem.message
    assert problem.message.endswith(" 3.")


def test_two_splits_cannot_read_the_same_file_with_any_limits(tmp_path: Path, rows: Path) -> None:
    both = {name: str(rows / "train.jsonl") for name in ("train", "test")}
    (problem,) = refused(tmp_path, both, limit={"train": 2, "test": 3}, exclude=[])
    assert "'train' and 'test'" in problem.message


# --- exclude --------------------------------------------------------------------------------------------------------


def test_excluded_documents_are_left_out_of_train_only_and_counted(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        lines(tmp_path / f"{split}.jsonl", in_documents(12, 2))
    whole = read(tmp_path, tmp_path)
    found = read(tmp_path, tmp_path, exclude=["d4", "d1"])
    assert [row.document for row in found["train"][0]] == [f"d{n}" for n in (0, 0, 2, 2, 3, 3, 5, 5)]
    summary = found["train"][1]
    assert (summary.rows, summary.excluded, summary.limited, summary.documents) == (8, 4, 0, 4)
    assert summary.fingerprint != whole["train"][1].fingerprint
    assert found["dev"][1] == whole["dev"][1]


def test_an_excluded_document_is_not_replaced(tmp_path: Path) -> None:
    source = lines(tmp_path / "train.jsonl", in_documents(20, 2))
    limited = list(read(tmp_path, source, limit={"train": 8})["train"][0])
    outside = sorted({f"d{n}" for n in range(10)} - {row.document for row in limited})[0]
    gone = limited[0].document
    table, summary = read(tmp_path, source, limit={"train": 8}, exclude=[gone, outside])["train"]
    assert list(table) == [row for row in limited if row.document != gone]
    assert (summary.rows, summary.limited, summary.excluded) == (6, 12, 2)


def test_excluded_documents_that_are_not_in_train_are_reported(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", in_documents(40, 1))
    (problem,) = refused(tmp_path, source, exclude=["d3", "e1"])
    assert problem.key == f"{KEY}.exclude"
    assert "got 1 " in problem.message
    assert problem.message.endswith(": 'e1'.")
    (problem,) = refused(tmp_path, source, exclude=[f"e{n}" for n in range(SHOWN_DOCUMENTS + 1)])
    assert "got 6 " in problem.message
    assert problem.message.endswith(": 'e0', 'e1', 'e2', 'e3', 'e4', ….")
    split = {"fractions": {"train": 0.5, "dev": 0.5}}
    dev = [row.document for row in read(tmp_path, source, split=split)["dev"][0]]
    (problem,) = refused(tmp_path, source, split=split, exclude=dev[:1])
    assert f"'{dev[0]}'" in problem.message


def test_at_least_one_row_of_train_must_remain(tmp_path: Path) -> None:
    source = lines(tmp_path / "train.jsonl", in_documents(4, 2))
    (problem,) = refused(tmp_path, source, exclude=["d0", "d1"])
    assert (problem.key, "all 2 " in problem.message) == (f"{KEY}.exclude", True)


# --- permute --------------------------------------------------------------------------------------------------------


def numbered(number: int) -> list[dict[str, Any]]:
    """Rows with distinct labels, in documents of three rows."""
    return [{"text": f"text {n}", "document": f"d{n // 3}", "label": str(n)} for n in range(number)]


def labels_of(table: RowTable) -> list[Any]:
    return [row.label for row in table if isinstance(row, TextRow)]


def test_only_the_labels_of_train_are_permuted(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        lines(tmp_path / f"{split}.jsonl", numbered(20))
    plain, found = (read(tmp_path, tmp_path, **options) for options in ({}, {"permute": {"seed": 1}}))
    assert [contents(found)[split] == contents(plain)[split] for split in found] == [False, True, True]
    assert [row.text for row in found["train"][0]] == [row.text for row in plain["train"][0]]
    labels, others = labels_of(plain["train"][0]), labels_of(found["train"][0])
    assert sorted(others) == sorted(labels)
    assert others != labels


def test_labels_are_permuted_last_so_that_the_same_rows_are_trained_on(tmp_path: Path) -> None:
    source = lines(tmp_path / "all.jsonl", numbered(60))
    split = {"fractions": {"train": 0.5, "dev": 0.25, "test": 0.25}}
    some: dict[str, Any] = {"split": split, "limit": {"train": 20, "dev": 9}}
    some["exclude"] = [read(tmp_path, source, **some)["train"][0][0].document]
    plain, found = (read(tmp_path, source, **some, **options) for options in ({}, {"permute": {}}))
    assert [contents(found)[name] == contents(plain)[name] for name in found] == [False, True, True]
    assert [row.id for row in found["train"][0]] == [row.id for row in plain["train"][0]]
    assert sorted(labels_of(found["train"][0])) == sorted(labels_of(plain["train"][0]))
    summaries = [summary for _, summary in (plain["train"], found["train"])]
    assert summaries[1].limited == summaries[0].limited > 0
    assert summaries[1].excluded == summaries[0].excluded > 0
    assert summaries[1].content == summaries[0].content
    assert summaries[1].fingerprint != summaries[0].fingerprint


def test_another_seed_gives_another_permutation(tmp_path: Path) -> None:
    source = lines(tmp_path / "train.jsonl", numbered(20))
    labels = [labels_of(read(tmp_path, source, permute={"seed": seed})["train"][0]) for seed in (0, 1, 0)]
    assert labels[0] == labels[2] != labels[1]


def test_the_data_decides_whether_mentions_or_relations_are_permuted(tmp_path: Path) -> None:
    entities = [{"id": f"T{n}", "type": "D", "spans": [[2 * n, 2 * n + 1]]} for n in range(3)]
    row = {"text": "a b c d e f", "entities": entities, "relations": [{"head": "T0", "tail": "T1", "type": "x"}]}
    source = lines(tmp_path / "train.jsonl", [row] * 20)
    plain = list(read(tmp_path, source)["train"][0])
    for mentions, changes in ((None, "relations"), (False, "relations"), (True, "entities")):
        found = list(read(tmp_path, source, permute={"mentions": mentions})["train"][0])
        for field in ("entities", "relations"):
            same = [getattr(row, field) for row in found] == [getattr(row, field) for row in plain]
            assert same == (field != changes)


def test_two_splits_cannot_read_the_same_file_even_if_one_is_permuted(tmp_path: Path) -> None:
    source = str(lines(tmp_path / "all.jsonl", numbered(20)))
    (problem,) = refused(tmp_path, {"train": source, "dev": source}, permute={})
    assert (problem.key, "'train' and 'dev'" in problem.message) == (KEY, True)


# --- keys of problems -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"files": {"train": "trian.jsonl"}}, "files.train"),
        ({"files": {"train": "train.jsonl", "devel": "dev.jsonl"}}, "files.devel"),
        ({"columns": {"txt": "text"}}, "columns.txt"),
    ],
)
def test_a_problem_of_a_reader_has_the_key_of_its_task(tmp_path: Path, rows: Path, options: Any, key: str) -> None:
    (problem,) = refused(tmp_path, rows, **options)
    assert problem.key == f"{KEY}.{key}"


def test_a_missing_column_is_reported_with_the_key_of_its_task_for_every_file(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\nx\ta\n")
    found = refused(tmp_path, tmp_path, reader="table", columns={"text": "sentence"})
    assert [problem.key for problem in found] == [f"{KEY}.columns.text"] * 2
    assert str(tmp_path / "dev.tsv") in found[1].message


def test_a_missing_file_of_paths_per_split_is_reported_under_path(tmp_path: Path, rows: Path) -> None:
    (problem,) = refused(tmp_path, {"train": str(rows / "train.jsonl"), "dev": str(rows / "no.jsonl")})
    assert problem.key == f"{KEY}.path.dev"


def test_a_missing_relative_path_is_reported_with_the_searched_folders(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "no/such/folder")
    assert problem.key == f"{KEY}.path"
    assert "working folder" in problem.suggestion
    (problem,) = refused(tmp_path, tmp_path / "no")
    assert problem.suggestion == "Check the path."


# --- the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that were read from their source instead of the cache."""
    seen: list[str] = []
    real = reading._RowBuild.start

    def start(build: Any) -> Any:
        seen.append(build._split)
        return real(build)

    monkeypatch.setattr(reading._RowBuild, "start", start)
    return seen


def contents(found: dict[str, tuple[RowTable, RowSummary]]) -> dict[str, tuple[list[Row], RowSummary]]:
    return {split: (list(table), summary) for split, (table, summary) in found.items()}


def test_rows_are_read_once(tmp_path: Path, rows: Path, reads: list[str]) -> None:
    first = contents(read(tmp_path, rows))
    assert contents(read(tmp_path, rows)) == first
    assert reads == ["train", "dev", "test"]


def test_another_option_or_a_changed_file_is_read_again(tmp_path: Path, rows: Path, reads: list[str]) -> None:
    read(tmp_path, rows)
    reads.clear()
    read(tmp_path, rows, meta=["site"])
    assert reads == ["train", "dev", "test"]
    reads.clear()
    lines(rows / "dev.jsonl", texts(4))
    assert len(read(tmp_path, rows)["dev"][0]) == 4
    assert "dev" in reads
    reads.clear()
    os.utime(rows / "dev.jsonl", ns=(0, 0))  # may be another file of the same size
    read(tmp_path, rows)
    assert "dev" in reads


def test_a_changed_file_of_annotations_is_read_again_and_a_missing_one_is_named(
    tmp_path: Path, reads: list[str]
) -> None:
    (tmp_path / "train.abstracts.txt").write_text("1\tOn zinc\tIt helps.\n")
    mentions = tmp_path / "mentions.txt"
    mentions.write_text("")
    options = {"reader": "chemdner", "annotations": {"train": "mentions.txt"}}
    assert not read(tmp_path, tmp_path, **options)["train"][0][0].entities  # type: ignore[union-attr]
    read(tmp_path, tmp_path, **options)
    mentions.write_text("1\tT\t3\t7\tzinc\tTRIVIAL\n")
    assert len(read(tmp_path, tmp_path, **options)["train"][0][0].entities) == 1  # type: ignore[union-attr]
    assert reads == ["train", "train"]
    mentions.unlink()
    (problem,) = refused(tmp_path, tmp_path, **options)
    assert problem.key == f"{KEY}.annotations.train"


READER = """
from heads.rows import TextRow
from mtl.readers import Reader
from lab.helpers import cleaned


class Plain(Reader):
    '''A text per line.'''

    suffixes = (".jsonl",)

    def rows(self, source, split):
        for number, line in self.lines(source):
            yield TextRow(f"{split}-{number}", f"{split}-{number}", cleaned(line), label="a")
"""


def test_rows_are_read_again_if_the_code_of_their_reader_changes_but_not_if_only_its_docstring_does(
    tmp_path: Path, rows: Path, reads: list[str], lab: Callable[..., None]
) -> None:
    def read_all(reader: str = "lab.plain.Plain", **options: Any) -> int:
        reads.clear()
        read(tmp_path, rows, reader=reader, **options)
        return len(reads)

    helpers = "def cleaned(text):\n    return text.strip()\n"
    lab(plain=READER, helpers=helpers)
    assert read_all() == 3
    lab(plain=READER.replace("A text per line.", "Lines."), helpers="# A comment.\n" + helpers)
    assert read_all() == 0
    lab(elsewhere=READER)
    assert read_all("lab.elsewhere.Plain") == 0
    assert read_all(permute={"seed": 1}) == 3
    lab(helpers=helpers.replace("strip", "lower"))
    assert read_all() == 3
    assert read_all(permute={"seed": 1}) == 3


def test_a_row_table_depends_on_no_library_that_its_reader_does_not_use(
    tmp_path: Path, rows: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(tmp_path, rows)
    actual = modules.installed_version
    reading._code_of.cache_clear()  # a process computes it once
    monkeypatch.setattr(modules, "installed_version", lambda name: actual(name) if name == "numpy" else "9.9")
    read(tmp_path, rows)
    assert reads == ["train", "dev", "test"]
    monkeypatch.setattr(modules, "installed_version", lambda name: "9.9")
    reading._code_of.cache_clear()
    read(tmp_path, rows)
    assert len(reads) == 6
    reading._code_of.cache_clear()


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path, rows: Path, reads: list[str]) -> None:
    read(tmp_path, rows)
    (rows / "mlflow.db").touch()
    read(tmp_path, rows)
    assert reads == ["train", "dev", "test"]


def test_files_that_a_reader_has_as_attributes_matter(tmp_path: Path, reads: list[str]) -> None:
    options = pubmedqa(tmp_path, 3, train=["0"], dev=["1"], test=["2"])
    assert read(tmp_path, tmp_path, **options)["train"][0][0].id == "0"
    pubmedqa(tmp_path, 3, train=["2"], dev=["1"], test=["0"])
    os.utime(tmp_path / "s.json", ns=(0, 0))
    assert read(tmp_path, tmp_path, **options)["train"][0][0].id == "2"


def test_a_fingerprint_depends_on_the_content_and_not_on_the_path(tmp_path: Path, rows: Path) -> None:
    moved = tmp_path / "moved"
    rows.rename(moved)
    first = read(tmp_path, moved)["train"][1].fingerprint
    moved.rename(rows)
    assert read(tmp_path, rows)["train"][1].fingerprint == first
    lines(rows / "train.jsonl", [*texts(5), {"text": "text 5", "label": "b"}])
    assert read(tmp_path, rows)["train"][1].fingerprint != first


# --- sentences --------------------------------------------------------------------------------------------------------


def brat(folder: Path) -> Path:
    folder.mkdir()
    text = "Rash after aspirin. No rash after\nibuprofen."
    for split in ("train", "dev"):
        (folder / split).mkdir()
        (folder / split / "1.txt").write_text(text, encoding="utf-8")
        mentions = ((0, 4), (11, 18), (23, 27), (34, 43))
        lines = [f"T{n}\tX {start} {end}\t{text[start:end]}" for n, (start, end) in enumerate(mentions, start=1)]
        (folder / split / "1.ann").write_text("\n".join([*lines, "R1\tafter Arg1:T1 Arg2:T2"]), encoding="utf-8")
    return folder


def test_texts_without_sentences_are_divided_if_that_is_asked_for(tmp_path: Path) -> None:
    source = brat(tmp_path / "corpus")
    for options, expected in (({}, None), ({"sentences": "split"}, ((0, 19), (20, 44)))):
        spec = DataSpec(reader="brat", path=str(source), **options)
        rows, _ = read_rows(spec, "data", Store(tmp_path / "cache"))["train"]
        (row,) = rows
        assert isinstance(row, SpanRow)
        assert row.sentences == expected
        assert spec.model_dump().get("sentences") == options.get("sentences")


def test_what_changes_rows_is_in_the_key_of_a_row_table() -> None:
    covered = {name for name in definitions(*reading._ROOTS) if name.startswith("mtl.data.")}
    for name in ("relabelling.relabelled_rows", "weak_labels.WeakLabels.applied", "sentence_spans.sentence_spans"):
        assert f"mtl.data.{name}" in covered

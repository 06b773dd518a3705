from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from heads.rows import Entity, SpanRow
from mtl.problems import InputError, Problem
from mtl.readers.conll import Conll, Scheme, Tag, mentions
from tests.readers import properties as has
from tests.readers.properties import Malformed, Sample

TYPES = st.sampled_from(["A", "B-C"])
SAMPLE = Sample(
    Conll,
    files={"train.tsv": "Zaphod\tO\n𝛼\tO\nfever\tB-X\nhigh\tI-X\n\nZaphod\tB-Y\n\n\nZaphod\tO\nrash\tB-X\n"},
    rows=(("fever high",), ("Zaphod",), ("rash",)),
    row_type=SpanRow,
    malformed=(
        Malformed("train.tsv", "rash\tB-X", "rash\tI-X", 10),
        Malformed("train.tsv", "rash\tB-X", "rash", 10),
        Malformed("train.tsv", "rash\tB-X", "\tB-X", 10),
        Malformed("train.tsv", "𝛼\tO\nfever\tB-X", "𝛼\tI-X\nfever\tZaphod", 2),
        Malformed("train.tsv", "Zaphod\tO\nrash", "-DOCSTART-\nZaphod\tO\nrash", 9),
    ),
)

SEGMENTS = st.lists(st.one_of(st.none(), st.tuples(TYPES, st.integers(1, 4))), max_size=8)


@pytest.mark.parametrize(
    "has_property",
    [*has.EVERY_READER, *has.TEXT_FILES, *has.SPANS, has.assert_an_empty_file_gives_no_rows],
)
def test_property(has_property: Callable[..., None], tmp_path: Path) -> None:
    has_property(SAMPLE, tmp_path)


def read(folder: Path, content: str, **options: Any) -> list[SpanRow]:
    (folder / "train.tsv").write_text(content, encoding="utf-8")
    rows = []
    for row in Conll(str(folder), **options).read("train"):
        assert isinstance(row, SpanRow)
        rows.append(row)
    return rows


def problems(folder: Path, content: str, **options: Any) -> list[Problem]:
    with pytest.raises(InputError) as raised:
        read(folder, content, **options)
    return raised.value.problems


def places(folder: Path, content: str, **options: Any) -> list[str]:
    """File and line of each problem."""
    return [Path(problem.key).name for problem in problems(folder, content, **options)]


def tagged(segments: list[tuple[str, int] | None], scheme: Scheme) -> list[str]:
    """The tags of words outside (None) and of mentions of a type and length."""
    tags: list[str] = []
    for segment in segments:
        if segment is None:
            tags.append("O")
            continue
        kind, length = segment
        inner = ["I"] * length
        if scheme != "IO":
            inner[0] = "B"
        if scheme == "BIOES":
            inner[-1] = "E" if length > 1 else "S"
        tags += [f"{prefix}-{kind}" for prefix in inner]
    return tags


def test_a_sentence_becomes_its_words_with_one_space_and_its_mentions(tmp_path: Path) -> None:
    content = "Low\tB-Finding\nfever\tI-Finding\n.\tO\n\n\nAspirin\tB-Drug\nrash\tB-Finding\n"
    assert read(tmp_path, content) == [
        SpanRow(
            "train-1",
            "train-1",
            "Low fever .",
            words=((0, 3), (4, 9), (10, 11)),
            entities=(Entity("T1", "Finding", ((0, 9),)),),
        ),
        SpanRow(
            "train-6",
            "train-6",
            "Aspirin rash",
            words=((0, 7), (8, 12)),
            entities=(Entity("T1", "Drug", ((0, 7),)), Entity("T2", "Finding", ((8, 12),))),
        ),
    ]


def test_quotes_and_words_that_look_like_missing_values_are_words(tmp_path: Path) -> None:
    words = ['"', "NA", "null", "nan", "''", "a\u00a0b", "\u2028"]
    (row,) = read(tmp_path, "".join(f"{word}\tO\n" for word in ["x", *words]))
    assert row.words is not None
    assert [row.text[start:end] for start, end in row.words[1:-1]] == words[:-1]


@given(SEGMENTS)
def test_bio_mentions_are_those_of_seqeval_in_strict_mode(segments: list[tuple[str, int] | None]) -> None:
    tags = tagged(segments, "BIO")
    expected = [entity.to_tuple()[1:] for entity in Entities([tags], IOB2).entities[0]]
    assert [(kind, first, last + 1) for first, last, kind in mentions(split(tags), "BIO")] == expected


@given(SEGMENTS)
def test_bioes_mentions_are_those_of_seqeval_in_strict_mode(segments: list[tuple[str, int] | None]) -> None:
    tags = tagged(segments, "BIOES")
    expected = [entity.to_tuple()[1:] for entity in Entities([tags], IOBES).entities[0]]
    assert [(kind, first, last + 1) for first, last, kind in mentions(split(tags), "BIOES")] == expected


@given(SEGMENTS)
def test_io_mentions_are_those_of_seqeval(segments: list[tuple[str, int] | None]) -> None:
    tags = tagged(segments, "IO")
    assert [(kind, first, last) for first, last, kind in mentions(split(tags), "IO")] == get_entities(tags)


def split(tags: list[str]) -> list[Tag]:
    return [Tag(*tag.split("-", 1)) if tag != "O" else Tag("O", "") for tag in tags]


def test_neighbouring_mentions_of_a_type_are_one_in_io_and_two_in_bio(tmp_path: Path) -> None:
    assert [e.spans for e in read(tmp_path, "a\tI-X\nb\tI-X\nc\tI-Y\n", scheme="IO")[0].entities] == [
        ((0, 3),),
        ((4, 5),),
    ]
    assert [e.spans for e in read(tmp_path, "a\tB-X\nb\tB-X\n")[0].entities] == [((0, 1),), ((2, 3),)]


@pytest.mark.parametrize(
    ("scheme", "tags", "line"),
    [
        ("BIO", ["O", "I-X"], 2),
        ("BIO", ["B-Y", "I-X"], 2),
        ("BIO", ["I-X"], 1),
        ("BIO", ["S-X"], 1),
        ("BIO", ["Zaphod"], 1),
        ("BIO", [""], 1),
        ("BIO", ["B"], 1),
        ("BIO", ["O-X"], 1),
        ("IO", ["B-X"], 1),
        ("BIOES", ["B-X", "O"], 1),
        ("BIOES", ["B-X"], 1),
        ("BIOES", ["O", "E-X"], 2),
        ("BIOES", ["S-X", "E-X"], 2),
    ],
)
def test_a_tag_that_its_scheme_does_not_allow_is_named(scheme: str, tags: list[str], line: int, tmp_path: Path) -> None:
    content = "".join(f"word\t{tag}\n" for tag in tags)
    assert places(tmp_path, content, scheme=scheme) == [f"train.tsv:{line}"]


def test_all_problems_of_a_sentence_are_one_refused_row(tmp_path: Path) -> None:
    content = "a\tI-X\nb\tO\nc\tI-X\n\nd\tO\n\ne\tQ-X\n"
    (tmp_path / "train.tsv").write_text(content)
    reader = Conll(str(tmp_path), on_bad_row="skip")
    assert [row.text for row in reader.read("train")] == ["d"]
    assert [bad.line for bad in reader.bad_rows] == [1, 7]
    assert reader.bad_rows[0].found.endswith("line 3)")


def test_a_column_that_no_line_has_is_named_with_the_first_line(tmp_path: Path) -> None:
    assert places(tmp_path, "a\tO\n", tag_column=2) == ["train.tsv:1"]


def test_no_message_holds_a_word_even_where_words_are_taken_for_tags(tmp_path: Path) -> None:
    content = "O\tZaphod\nI-X\tBeeblebrox\nB-X\tE-Beeblebrox\n"
    found = problems(tmp_path, content, scheme="BIOES") + problems(tmp_path, "Zaphod\nB-X\tI-X\n", scheme="BIOES")
    assert len(found) == 2
    assert not any(word in str(problem) for problem in found for word in ("Zaphod", "Beeblebrox"))


def test_columns_are_chosen_from_either_end(tmp_path: Path) -> None:
    content = "1 fever  NN B-X _\n2 fell VB O _\n"
    (row,) = read(tmp_path, content, token_column=1, tag_column=-2, separator="space")
    assert (row.text, [entity.type for entity in row.entities]) == ("fever fell", ["X"])


def test_bare_tags_get_the_stated_type(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "a\tB\nb\tI\nc\tO\nd\tB\n", entity_type="Gene")
    assert [(entity.type, entity.spans) for entity in row.entities] == [("Gene", ((0, 3),)), ("Gene", ((6, 7),))]


def test_types_are_chosen_and_merged_and_the_others_counted(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tB-P\nb\tB-Q\nc\tB-R\n")
    reader = Conll(str(tmp_path), types={"P": "X", "R": "X"})
    (row,) = reader.read("train")
    assert isinstance(row, SpanRow)
    assert row.entities == (Entity("T1", "X", ((0, 1),)), Entity("T2", "X", ((4, 5),)))
    assert reader.left_out == {"Q": 1}


def test_a_document_mark_gives_its_id_to_the_sentences_below(tmp_path: Path) -> None:
    content = "a\tO\n-DOCSTART- 91\n\nb\tO\n\nc\tO\n-DOCSTART- 92\nd\tO\n"
    rows = read(tmp_path, content, document_mark="-DOCSTART-")
    assert [(row.id, row.document, row.text) for row in rows] == [
        ("train-1", "train-1", "a"),
        ("train-4", "91", "b"),
        ("train-6", "91", "c"),
        ("train-8", "92", "d"),
    ]


@pytest.mark.parametrize("mark", ["-DOCSTART-", "-DOCSTART-\tO", "-DOCSTART- 91\tO"])
def test_a_document_mark_without_its_option_names_the_option_and_is_never_a_word(mark: str, tmp_path: Path) -> None:
    content = f"{mark}\n\nfever\tO\n"
    (problem,) = problems(tmp_path, content)
    assert Path(problem.key).name == "train.tsv:1"
    assert "document_mark" in problem.message
    (row,) = read(tmp_path, content, document_mark="-DOCSTART-")
    assert row.text == "fever"


@pytest.mark.parametrize("mark", ["-DOCSTART-\tO", "-DOCSTART-", "-DOCSTART- -X- -X- O"])
def test_a_document_mark_without_id_still_holds_its_sentences_together(mark: str, tmp_path: Path) -> None:
    rows = read(tmp_path, f"{mark}\n\na\tO\n\nb\tO\n\n{mark}\n\nc\tO\n", document_mark="-DOCSTART-")
    assert [(row.document, row.text) for row in rows] == [("train-1", "a"), ("train-1", "b"), ("train-7", "c")]


def test_a_document_mark_that_is_not_utf8_still_opens_a_document(tmp_path: Path) -> None:
    lines = (b"-DOCSTART- 91", b"", b"a\tO", b"", b"-DOCSTART- 9\xff", b"", b"b\tO", b"", b"c\tO")
    (tmp_path / "train.tsv").write_bytes(b"\n".join(lines))
    reader = Conll(str(tmp_path), document_mark="-DOCSTART-", on_bad_row="skip")
    assert [row.document for row in reader.read("train")] == ["91", "train-5", "train-5"]
    assert [bad.line for bad in reader.bad_rows] == [5]


# --- public data ----------------------------------------------------------------------------------------------------

DEVEL = {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"}
MARK = {"document_mark": "-DOCSTART-"}


def documented(folder: Path, dataset: str) -> dict[tuple[str, str], int]:
    with (folder / "counts.csv").open(encoding="utf-8") as file:
        return {
            (row["split"], row["unit"]): int(row["count"]) for row in csv.DictReader(file) if row["dataset"] == dataset
        }


def counted(reader: Conll) -> tuple[Counter[tuple[str, str]], dict[str, set[str]]]:
    """Counts in the words of the data's own table, and the documents of each split."""
    counts: Counter[tuple[str, str]] = Counter()
    documents: dict[str, set[str]] = {}
    for split in reader.sources():
        documents[split] = set()
        for row in reader.read(split):
            assert isinstance(row, SpanRow)
            assert row.words is not None
            documents[split].add(row.document)
            counts[split, "sentences"] += 1
            counts[split, "tokens"] += len(row.words)
            counts[split, "mentions"] += len(row.entities)
            for entity in row.entities:
                counts[split, f"mentions:{entity.type}"] += 1
    return counts, documents


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["bc5cdr_chem", "bc5cdr_disease", "ncbi_disease", "bc2gm"])
def test_sentences_tokens_and_mentions_are_the_documented_ones(dataset: str, data_folder: Path) -> None:
    counts, _ = counted(Conll(str(data_folder / dataset)))
    expected = documented(data_folder, dataset)
    assert len(expected) == 9
    assert {key: counts[key] for key in expected} == expected


@pytest.mark.slow
def test_jnlpba_with_bare_tags_gives_the_documented_counts(data_folder: Path) -> None:
    counts, documents = counted(Conll(str(data_folder / "jnlpba" / "blurb"), entity_type="Protein", **MARK))
    expected = {k: v for k, v in documented(data_folder, "jnlpba/blurb").items() if k[1] != "documents"}
    assert {key: counts[key] for key in expected} == expected
    # 98282479, 98281994 (test) and 97218353 (train) are marked twice: fewer documents than marks.
    assert {split: len(found) for split, found in documents.items()} == {"train": 1799, "dev": 200, "test": 402}
    assert len(documents["train"] & documents["test"]) == 10


@pytest.mark.slow
def test_jnlpba_with_five_types_gives_the_documented_counts(data_folder: Path) -> None:
    counts, documents = counted(Conll(str(data_folder / "jnlpba" / "five_types"), **MARK))
    counts.update({(split, "documents"): len(found) for split, found in documents.items()})
    expected = documented(data_folder, "jnlpba/five_types")
    assert {key: counts[key] for key in expected} == expected


@pytest.mark.slow
def test_phee_in_io_gives_the_documented_counts(data_folder: Path) -> None:
    options: dict[str, Any] = {"scheme": "IO", "separator": "space"}
    counts, _ = counted(Conll(str(data_folder / "phee" / "ace"), **options))
    expected = documented(data_folder, "phee/ace")
    assert {(split, unit): counts[split, unit.replace("blocks", "sentences")] for split, unit in expected} == expected


# --- files as people have them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "tags", "spans"),
    [
        ("IOB1", "I-X I-X B-X O I-X I-Y B-Y", [(0, 1), (2, 2), (4, 4), (5, 5), (6, 6)]),
        ("BILOU", "B-X I-X L-X U-X O U-Y B-X L-X", [(0, 2), (3, 3), (5, 5), (6, 7)]),
    ],
)
def test_iob1_and_bilou_are_read(scheme: Scheme, tags: str, spans: list[tuple[int, int]], tmp_path: Path) -> None:
    content = "".join(f"w{index}\t{tag}\n" for index, tag in enumerate(tags.split()))
    (row,) = read(tmp_path, content, scheme=scheme)
    assert row.words is not None
    found = [row.text[slice(*entity.spans[0])].split() for entity in row.entities]
    assert found == [[f"w{index}" for index in range(first, last + 1)] for first, last in spans]


@pytest.mark.parametrize("scheme", ["IOB1", "BILOU"])
@pytest.mark.parametrize("seed", range(20))
def test_they_agree_with_seqeval(scheme: Scheme, seed: int) -> None:
    draw = random.Random(seed)
    tags: list[str] = []
    while len(tags) < 30:
        kind, length = draw.choice("XY"), draw.randint(1, 3)
        if draw.random() < 0.3:
            tags.append("O")
        elif scheme == "IOB1":
            is_next = bool(tags) and tags[-1][2:] == kind
            tags += [f"{'B' if is_next else 'I'}-{kind}", *[f"I-{kind}"] * (length - 1)]
        else:
            long = [f"B-{kind}", *[f"I-{kind}"] * (length - 2), f"L-{kind}"]
            tags += [f"U-{kind}"] if length == 1 else long
    (expected,) = Entities([tags], IOB1 if scheme == "IOB1" else BILOU).entities
    found = mentions([Tag(*tag.split("-")) if tag != "O" else Tag("O", "") for tag in tags], scheme)
    assert found == [(entity.start, entity.end - 1, entity.tag) for entity in expected]


@pytest.mark.parametrize("tags", ["B-X O", "I-X", "O L-X", "U-X L-X", "E-X", "B-X U-X"])
def test_invalid_tags_of_bilou_are_errors(tags: str, tmp_path: Path) -> None:
    content = "".join(f"w\t{tag}\n" for tag in tags.split())
    assert len(problems(tmp_path, content, scheme="BILOU")) == 1


def test_an_error_of_bio_names_iob1(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "fever\tI-Sign\n")
    assert "IOB1" in problem.message


@pytest.mark.parametrize(
    ("content", "place", "options"),
    [
        ("no\tO\n\nfolic\tacid\tB-Drug\n.\tO\n", "train.tsv:3", {}),
        ("no O\nfolic acid B-Drug\n", "train.tsv:2", {"separator": "space"}),
        ("no\tO\nfever\tB-Sign\t\n", "train.tsv:2", {}),
    ],
)
def test_lines_with_another_number_of_columns_are_errors(
    content: str, place: str, options: dict[str, Any], tmp_path: Path
) -> None:
    assert places(tmp_path, content, **options) == [place]


def test_a_wrong_separator_is_named(tmp_path: Path) -> None:
    assert "separator: space" in problems(tmp_path, "no O\nfever B-Sign\n")[0].message
    assert "separator: tab" in problems(tmp_path, "no\tO\nfever\tB-Sign\n", separator="space")[0].message


def test_comments_of_conll_u_are_skipped_and_counted(tmp_path: Path) -> None:
    content = "# sent_id = 1\n# text = # fever\n#\tO\nfever\tB-Sign\n"
    (tmp_path / "train.tsv").write_text(content)
    reader = Conll(str(tmp_path))
    (row,) = reader.read("train")
    assert (row.id, row.text, reader.left_out) == ("train-3", "# fever", {"comment": 2})


def test_comments_between_spaces_need_an_option_that_the_error_names(tmp_path: Path) -> None:
    content = "# sent_id = 1\nfever B-Sign\n"
    (problem,) = problems(tmp_path, content, separator="space")
    assert (Path(problem.key).name, 'comment: "#"' in problem.message) == ("train.tsv:1", True)
    assert [row.text for row in read(tmp_path, content, separator="space", comment="#")] == ["fever"]

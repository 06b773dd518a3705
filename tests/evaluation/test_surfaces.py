"""Seen and unseen mentions, against sums by hand and a count of the published files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heads import Entity, Head, SpanRow
from heads.classification import Classification
from heads.token_classification import TokenClassification
from mtl.config.mixture import DataSpec
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.evaluation.scoring import score_rows
from mtl.evaluation.surfaces import (
    MentionOverlap,
    TrainMentions,
    form_of,
    mention_overlap,
    surface_scores,
)

TYPES = ("Drug", "Sign")
Mention = tuple[str, str]


def sentence(name: str, text: str, *mentions: Mention, annotated: tuple[str, ...] | None = None) -> SpanRow:
    """A row whose mentions are words of the text, each at its last occurrence in this case."""
    entities = tuple(
        Entity(f"T{n}", kind, ((text.rindex(word), text.rindex(word) + len(word)),))
        for n, (word, kind) in enumerate(mentions)
    )
    return SpanRow(name, f"d-{name}", text, entities=entities, annotated=annotated)


def predicted(row: SpanRow, *mentions: Mention) -> dict[str, Any]:
    found = sentence("", row.text, *mentions).entities
    return {"entities": [{"type": e.type, "start": e.spans[0][0], "end": e.spans[0][1]} for e in found]}


TRAIN = [
    sentence(
        "1", "Aspirin relieves fever, Warfarin does not.", ("Aspirin", "Drug"), ("fever", "Sign"), ("Warfarin", "Drug")
    ),
    sentence("2", "The warfarin dose: cold hands, but no common cold.", ("common cold", "Sign")),
    sentence("3", "Iron deficiency was treated with iron.", ("Iron deficiency", "Sign"), ("iron", "Drug")),
]
"""`warfarin` is a mention once and unlabelled once; `cold` is unlabelled, and part of a mention; `iron` is a drug."""

TEST = [
    sentence("4", "ASPIRIN and warfarin cause Fever.", ("ASPIRIN", "Drug"), ("warfarin", "Drug"), ("Fever", "Sign")),
    sentence("5", "A cold after iron.", ("cold", "Sign"), ("iron", "Sign")),
    sentence("6", "Rash.", ("Rash", "Sign")),
]

FOUND = {
    "4": predicted(TEST[0], ("ASPIRIN", "Drug"), ("Fever", "Drug"), ("cause", "Sign")),
    "5": predicted(TEST[1], ("cold", "Sign"), ("iron", "Sign")),
    "6": predicted(TEST[2]),
}


def head() -> TokenClassification:
    return TokenClassification(TYPES, 8)


def test_the_mentions_of_six_sentences_are_counted_as_by_hand() -> None:
    # Seen: ASPIRIN, warfarin, Fever, iron. With another type: iron. Unlabelled in train: warfarin, cold.
    expected = MentionOverlap(mentions=6, seen=4, ambiguous=3, other_type=1, unlabelled=2)
    assert mention_overlap(head(), TrainMentions(TRAIN, TYPES), TEST) == expected


def test_the_scores_of_six_sentences_are_those_by_hand() -> None:
    found = surface_scores(head(), TRAIN, TEST, FOUND)
    assert found is not None
    # Seen: 4 gold, 3 predicted (the type of Fever is wrong), 2 right. Unseen: 2 gold, 2 predicted (not cause), 1 right.
    assert found.scores() == pytest.approx(
        {
            "seen_share": 4 / 6,
            "ambiguous_share": 3 / 6,
            "seen_precision": 2 / 3,
            "seen_recall": 2 / 4,
            "seen_f1": 4 / 7,
            "unseen_precision": 1 / 2,
            "unseen_recall": 1 / 2,
            "unseen_f1": 1 / 2,
        }
    )
    intervals = found.intervals(head())
    assert set(intervals) == {f"{part}_{name}" for part in ("seen", "unseen") for name in ("f1", "precision", "recall")}
    assert intervals["seen_f1"].low <= 4 / 7 <= intervals["seen_f1"].high


def test_counts_are_per_document_so_that_they_can_be_resampled() -> None:
    found = surface_scores(head(), TRAIN, TEST, FOUND)
    assert found is not None
    for result in found.parts.values():
        assert result.documents == ["d-4", "d-5", "d-6"]
        assert head().score(torch.stack(result.counts).sum(0)) == result.scores


WORDS = st.sampled_from(["aspirin", "Aspirin", "cold", "common", "iron", "fever"])
Spans = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2), st.sampled_from(TYPES)), max_size=4)


@given(words=st.lists(WORDS, min_size=8, max_size=8), gold=Spans, guesses=Spans, train=st.sets(WORDS, max_size=3))
def test_the_counts_of_both_parts_add_up_to_those_of_the_whole(
    words: list[str], gold: Any, guesses: Any, train: set[str]
) -> None:
    starts = [len(" ".join(words[:n])) + bool(n) for n in range(len(words))]

    def spans(chosen: Any) -> list[tuple[str, int, int]]:
        ends = [(kind, starts[n], starts[n + size - 1] + len(words[n + size - 1])) for n, size, kind in chosen]
        return list(dict.fromkeys(ends))

    entities = tuple(Entity(f"T{n}", kind, ((a, b),)) for n, (kind, a, b) in enumerate(spans(gold)))
    row = SpanRow("1", "1", " ".join(words), entities=entities)
    made = {"entities": [{"type": kind, "start": a, "end": b} for kind, a, b in spans(guesses)]}
    known = [sentence(word, word, (word, "Drug")) for word in sorted(train)]
    found = surface_scores(head(), known, [row], {"1": made})
    assert found is not None
    size = len(TYPES) + 1
    whole = score_rows(head(), [(row, made)]).counts[0][: size**2]
    if len(found.parts) == 2:
        parts = torch.stack([result.counts[0][: size**2] for result in found.parts.values()])
        assert parts.sum(0).tolist() == whole.tolist()
    assert found.overlap.mentions == len(entities)


def test_a_part_without_gold_mentions_has_no_scores() -> None:
    found = surface_scores(head(), TRAIN, TEST[2:], FOUND)
    assert found is not None
    assert set(found.scores()) == {"seen_share", "ambiguous_share", "unseen_f1", "unseen_precision", "unseen_recall"}


def test_types_that_are_not_annotated_count_neither_as_mentions_nor_as_unlabelled() -> None:
    partly = [sentence("1", "Aspirin and rash", ("Aspirin", "Drug"), annotated=("Drug",))]
    train = TrainMentions(partly, TYPES)
    assert train.unlabelled({("rash",)}) == set(), "nobody looked for signs there"
    test = [sentence("2", "rash after aspirin", ("rash", "Sign"), ("aspirin", "Drug"), annotated=("Drug",))]
    assert mention_overlap(head(), train, test) == MentionOverlap(1, 1, 0, 0, 0)


@pytest.mark.parametrize("written", ["IL-2", "il -2", "Il\u00ad-\u200b2 ", "IL\u0301-2", "\x00IL-2"])
def test_case_blanks_accents_and_invisible_characters_make_no_difference(written: str) -> None:
    assert form_of(written, Entity("T", "Gene", ((0, len(written)),))) == ("il", "-", "2")


@pytest.mark.parametrize(
    "written", ["hyper\u00adtension", "hype\u0301rtension", "hyp\u00e9rtension", "Hyper\u200dtension\u00ad"]
)
def test_marks_and_joiners_inside_a_word_do_not_divide_it(written: str) -> None:
    assert form_of(written, Entity("T", "Disease", ((0, len(written)),))) == ("hypertension",)


def test_a_discontinuous_mention_goes_from_its_first_to_its_last_character() -> None:
    assert form_of("left or right arm", Entity("T", "Part", ((0, 4), (14, 17)))) == ("left", "or", "right", "arm")


def test_other_heads_have_no_seen_mentions() -> None:
    other: Head = Classification(["a", "b"], 8)
    assert surface_scores(other, [], [], {}) is None


# --- a published corpus -----------------------------------------------------------------------------------------------


def tagged(path: Path) -> list[list[tuple[str, str]]]:
    """The sentences of a file, each with the words in lower case and their tags; a word with punctuation is several."""
    found: list[list[tuple[str, str]]] = [[]]
    for line in path.read_text(encoding="utf-8").split("\n"):
        if not line.strip():
            found.append([])
            continue
        token, tag = line.split("\t")
        pieces = re.findall(r"[^\W_]+|[^\w\s]|_", token.casefold())
        tags = [tag, *["I-Disease" if tag != "O" else "O"] * (len(pieces) - 1)]
        found[-1] += zip(pieces, tags, strict=False)
    return [one for one in found if one]


def mentions(sentences: Iterable[list[tuple[str, str]]]) -> list[tuple[str, ...]]:
    found: list[list[str]] = []
    for one in sentences:
        for word, tag in one:
            if tag.startswith("B"):
                found.append([word])
            elif tag.startswith("I"):
                found[-1].append(word)
    return [tuple(words) for words in found]


def occurs_outside(form: tuple[str, ...], by_word: Mapping[str, list[tuple[list[tuple[str, str]], int]]]) -> bool:
    return any(
        [word for word, _ in one[place : place + len(form)]] == list(form)
        and all(tag == "O" for _, tag in one[place : place + len(form)])
        for one, place in by_word.get(form[0], ())
    )


def test_the_shares_of_the_ncbi_disease_corpus(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "ncbi_disease"
    files = {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"}
    spec = DataSpec(reader="conll", path=str(folder), files=files)
    rows = {split: table for split, (table, _) in read_rows(spec, "data", Store(tmp_path)).items()}
    disease = TokenClassification(["Disease"], 8)
    found = mention_overlap(disease, TrainMentions(rows["train"], ["Disease"]), rows["test"])
    train, gold = tagged(folder / "train.tsv"), mentions(tagged(folder / "test.tsv"))
    known = set(mentions(train))
    by_word: dict[str, list[tuple[list[tuple[str, str]], int]]] = {}
    for one in train:
        for place, (word, _) in enumerate(one):
            by_word.setdefault(word, []).append((one, place))
    outside = sum(occurs_outside(form, by_word) for form in gold)
    assert (found.mentions, found.seen) == (960, sum(form in known for form in gold))
    assert (found.ambiguous, found.other_type, found.unlabelled) == (outside, 0, outside)
    assert (found.seen, found.unlabelled) == (598, 232), "62% of the mentions are known, and 24% are ambiguous"

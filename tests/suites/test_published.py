"""Published scores: every line has a source and a variant."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from mtl.problems import InputError
from mtl.suites.published import PublishedScore
from mtl.suites.suite_file import load_suite
from tests.suites.toy import write_suite

GOOD = "paper,theirs,toy_drugs,strict_entity_f1,77.240,0.5,5,yes"


def problems(folder: Path, *lines: str) -> list[tuple[str, str]]:
    with pytest.raises(InputError) as found:
        load_suite(write_suite(folder, list(lines)))
    return [(Path(problem.key).name, f"{problem.message} {problem.suggestion}") for problem in found.value.problems]


def test_a_line_keeps_its_decimals(tmp_path: Path) -> None:
    [score] = load_suite(write_suite(tmp_path, [GOOD])).published
    assert (str(score.score), score.sd, score.seeds, score.secondary) == ("77.240", Decimal("0.5"), 5, True)


def test_scores_that_were_not_read_where_they_were_measured_are_marked() -> None:
    marked = {(one.source, one.model) for name in ("blurb", "blue", "encoders11") for one in secondary(name)}
    sources = {source for source, _ in marked}
    assert sources == {"bioptimus", "blue_readme", "leaderboard", "quoted"}
    assert {model for source, model in marked if source == "blue_readme"} == {"best published by April 2019"}
    [chemprot] = [one for one in secondary("encoders11") if one.source == "quoted"]
    assert (chemprot.task, chemprot.variant) == ("encoders11_chemprot", "accuracy_with_negative")
    assert chemprot.score == Decimal("90.8")


def secondary(name: str) -> list[PublishedScore]:
    return [one for one in load_suite(name).published if one.secondary]


def test_a_line_without_a_variant_is_refused(tmp_path: Path) -> None:
    [(place, text)] = problems(tmp_path, GOOD, "paper,theirs,toy_risk,,90.4,,,")
    assert place == "published.csv:3"
    assert "variant must not be empty" in text
    assert "f1_averaging_unclear" in text


def test_every_bad_line_is_reported_at_once_with_its_number(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "papr,theirs,toy_drugs,strict_entity_f1,70,,,",
        "paper,theirs,toy_drug,strict_entity_f1,70,,,",
        "paper,theirs,toy_drugs,strict_entity_f2,70,,,",
        "paper,,toy_drugs,strict_entity_f1,high,-200,0,perhaps",
        "paper,theirs,toy,mean_of_group_means,70,,,",
        "paper,theirs,toy_drugs",
        GOOD,
        GOOD,
    )
    by_line: dict[str, list[str]] = {}
    for place, text in found:
        by_line.setdefault(place, []).append(text)
    assert {place: len(texts) for place, texts in by_line.items()} == {
        "published.csv:2": 1,
        "published.csv:3": 1,
        "published.csv:4": 1,
        "published.csv:5": 5,
        "published.csv:6": 1,
        "published.csv:7": 1,
        "published.csv:9": 1,
    }
    assert "Did you mean 'paper'?" in by_line["published.csv:2"][0]
    assert "Did you mean 'toy_drugs'?" in by_line["published.csv:3"][0]
    assert "Did you mean 'strict_entity_f1'?" in by_line["published.csv:4"][0]
    assert "mean_of_tasks" in by_line["published.csv:6"][0]


def test_another_header_and_a_missing_file_are_problems(tmp_path: Path) -> None:
    path = write_suite(tmp_path, [GOOD])
    (tmp_path / "published.csv").write_text("model,score\nours,3\n")
    with pytest.raises(InputError, match=r"published.csv:1: The header must be source,model"):
        load_suite(path)
    (tmp_path / "published.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"published.csv: The file must be CSV in UTF-8"):
        load_suite(path)
    (tmp_path / "published.csv").unlink()
    with pytest.raises(InputError, match=r"published: The file .* does not exist"):
        load_suite(path)


def test_one_score_in_two_variants_is_two_scores(tmp_path: Path) -> None:
    lines = [
        f"paper,theirs,toy_risk,{variant},70,,," for variant in ("micro_f1_without_negative", "accuracy_with_negative")
    ]
    assert len(load_suite(write_suite(tmp_path, lines)).published) == 2

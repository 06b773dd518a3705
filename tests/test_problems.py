from __future__ import annotations

from mtl.problems import InputError, Problem, did_you_mean


def test_a_problem_reads_key_then_message_then_suggestion() -> None:
    assert str(Problem("seed", "must be a number, got 'x'.", "Set 1.")) == "seed: must be a number, got 'x'. Set 1."
    assert str(Problem("seed", "must be a number.")) == "seed: must be a number."


def test_a_problem_as_a_dictionary_has_the_fields_of_the_json_plan() -> None:
    assert Problem("a", "b", "c").to_dict() == {"key": "a", "message": "b", "suggestion": "c"}


def test_an_error_holds_and_shows_every_problem() -> None:
    error = InputError([Problem("a", "One."), Problem("b", "Two.")])
    assert [problem.key for problem in error.problems] == ["a", "b"]
    assert str(error) == "a: One.\nb: Two."
    assert isinstance(error, ValueError)


def test_a_single_problem_needs_no_list() -> None:
    assert InputError(Problem("a", "One.")).problems == [Problem("a", "One.")]


def test_the_nearest_name_comes_before_all_names_in_alphabetical_order() -> None:
    assert did_you_mean("unifrom", ["weighted", "uniform"]) == "Did you mean 'uniform'? Choices: uniform, weighted."


def test_there_is_no_suggestion_if_no_name_is_similar() -> None:
    assert did_you_mean("xyz", ["uniform"]) == "Choices: uniform."
    assert did_you_mean("xyz", []) == "Choices: none."


def test_a_name_that_differs_in_case_only_is_the_nearest() -> None:
    assert did_you_mean("BIO", ["bio", "bios"]).startswith("Did you mean 'bio'?")
    assert did_you_mean("tsv", ["TSV", "csv"]).startswith("Did you mean 'TSV'?")
    assert did_you_mean("UNIFROM", ["weighted", "uniform"]).startswith("Did you mean 'uniform'?")

"""Sentences with fields, filled in and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._generation_templates import Template, normalised, one_line, without_stop

BIOGPT = "the interaction between {head} and {tail} is {type}"
WORDS = st.lists(st.from_regex(r"[a-z0-9(),-]+", fullmatch=True), min_size=1, max_size=4).map(" ".join)


@given(st.fixed_dictionaries({"head": WORDS, "tail": WORDS, "type": WORDS}))
def test_what_is_filled_in_is_read_back(values: dict[str, str]) -> None:
    read = Template("template", BIOGPT, ["head", "tail", "type"]).values(
        Template("template", BIOGPT, ["head", "tail", "type"]).render(values)
    )
    taken = [f" {value} " for value in values.values()]
    if not any(word in value for value in taken for word in (" and ", " is ")):
        assert read == values


@pytest.mark.parametrize(
    "text",
    [
        "question : is it ? context : yes",
        "Question:  is it?\ncontext: yes",
        "question: is it? context:yes",
    ],
)
def test_case_and_blanks_around_punctuation_may_differ(text: str) -> None:
    values = Template("source", "question: {text} context: {text_pair}", ["text"], ["text_pair"]).values(text)
    assert values is not None
    assert [normalised(value) for value in values.values()] == ["isit", "yes"]


@pytest.mark.parametrize("text", ["", "the answer", "the answer is ", "is yes", "answer is yes", "the answeris yes"])
def test_a_text_that_does_not_follow_the_template_has_no_values(text: str) -> None:
    assert Template("template", "the answer is {label}", ["label"]).values(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the answer", "none"),
        ("{head} and {label}", "head"),
        ("{label} or {label}", "label, label"),
    ],
)
def test_a_template_must_have_its_fields_once_and_no_other(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^template must .*got {found}$"):
        Template("template", text, ["label"])


def test_blanks_around_a_template_have_no_effect() -> None:
    assert Template("template", " it is {label} now ", ["label"]).values("it is so now") == {"label": "so"}


def test_fields_must_have_words_between_them() -> None:
    with pytest.raises(ValueError, match=r"^template must have words between"):
        Template("template", "{head} {tail}", ["head", "tail"])


@given(st.text())
def test_normalised_text_stays_the_same(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert one_line(one_line(text)) == one_line(text)


def test_one_full_stop_is_removed() -> None:
    assert [without_stop(text) for text in ("E. coli.", "a . ", "a..", "a")] == ["E. coli", "a", "a.", "a"]

"""The tokens of a generative task: a text, a soft prompt, and a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from heads import Row
from heads._generation_templates import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SourceTokens(NamedTuple):
    """The tokens before a target, and whether the text was cut."""

    ids: list[int]
    is_cut: bool


class Inputs:
    """How rows become tokens.

    Args:
        source: The text that is read, with the fields {text} and {text_pair}.
        prompt: Added tokens between the text and the target.
        lowercase: Whether texts and targets are lowercased.
        room: Number of tokens that are kept free for the target.

    Raises:
        ValueError: `source` lacks a field.
    """

    def __init__(self, source: str, prompt: Sequence[str], *, lowercase: bool, room: int) -> None:
        self._template = Template("source", source, ["text"], ["text_pair"])
        self.prompt, self._lowercase, self.room = tuple(prompt), lowercase, room

    def problem(self, row: Row) -> str | None:
        """Why a row cannot be read, or None."""
        reads_pairs = "text_pair" in self._template.fields
        if reads_pairs and row.text_pair is None:
            return "the row must have a text_pair, because the option source has {text_pair}; got one text"
        if row.text_pair is not None and not reads_pairs:
            return "the row must have one text, unless the option source has {text_pair}; got a text_pair"
        return "the text must not be blank, got white space" if not row.text.strip() else None

    def target_problem(self, text: str, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """Why a target has no place, or None."""
        length = len(self.target(text, tokenizer))
        if length <= self.room:
            return None
        return f"the target must have at most {self.room} tokens (option max_new_tokens), got {length}"

    def source(self, row: Row, tokenizer: PreTrainedTokenizerBase, max_length: int) -> SourceTokens:
        """The tokens before the target; a text that is too long loses its end.

        Raises:
            ValueError: `max_length` leaves no room for text.
        """
        before = _before(tokenizer)
        prompt: list[int] = tokenizer.convert_tokens_to_ids(list(self.prompt))  # type: ignore[assignment]  # of a list
        most = max_length - len(before) - len(prompt) - self.room
        if most < 1:
            taken = f"{self.room} of max_new_tokens and {len(before) + len(prompt)} of added tokens"
            raise ValueError(f"max_length must leave room for text besides {taken}, got {max_length}")
        pair = {} if row.text_pair is None else {"text_pair": row.text_pair}
        ids = _ids(self._cased(self._template.render({"text": row.text, **pair})), tokenizer)
        return SourceTokens([*before, *ids[:most], *prompt], len(ids) > most)

    def target(self, text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The tokens of a target, with that for the end of a text."""
        eos_id = tokenizer.eos_token_id
        assert isinstance(eos_id, int), "`read_tokenizer` comes first"
        # Where words carry the blank before them, the target is a new word.
        blank = " " if len(_ids(" a", tokenizer)) == len(_ids("a", tokenizer)) else ""
        return [*_ids(f"{blank}{self._cased(text)}", tokenizer), eos_id]

    def _cased(self, text: str) -> str:
        return text.lower() if self._lowercase else text


def _before(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that a tokenizer puts before a text."""
    with_special: list[int] = tokenizer("a", verbose=False)["input_ids"]
    plain = _ids("a", tokenizer)
    for start in range(len(with_special) - len(plain) + 1):
        if with_special[start : start + len(plain)] == plain:
            return with_special[:start]
    return []


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids

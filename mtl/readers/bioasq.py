"""The yes/no questions of BioASQ task B: JSON with questions, snippets of articles and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from heads.rows import TextRow
from mtl.hashed_ids import quoted_id
from mtl.readers import OnBadRow, Reader
from mtl.readers._columns import MalformedError, kind_of, text_of
from mtl.readers._json import parse_json
from mtl.readers._members import ARCHIVES, members
from mtl.redaction import shown

ANSWERS = ("yes", "no")

NO_SNIPPETS = "question without snippets, which is read alone"

_FILE = 'a file must be a JSON object with a list of "questions"'


class BioASQ(Reader):
    """Pairs of a question and its snippets, joined by spaces, labelled yes or no.

    The layout is that of the training file and of the golden files of a task (Tsatsaronis et al. 2015), as BigBIO's
    loader `bioasq_task_b` reads them. Questions of other types are left out and counted by type. `ideal_answer`, the
    answer in words, is never read. A question and its row::

        {"questions": [{"id": "5c", "type": "yesno", "body": "Is …?", "snippets": [{"text": "…", …}],
                        "exact_answer": "yes", "ideal_answer": ["Yes, …"], …}]}
        TextRow("5c", "5c", "Is …?", "…", label="yes")

    Args:
        path: Folder with a JSON file for each split, or with a folder or archive of several, such as the golden files
            of the five batches of a test set.
        context: Whether the second text is the `snippets`, or there is `none`.
        files: See `Reader`.
        on_bad_row: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".json", *ARCHIVES)

    def __init__(
        self,
        path: str,
        *,
        context: Literal["snippets", "none"] = "snippets",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row)
        self.context = context

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        if source.suffix == ".json" and not self.storage.is_dir(source):
            contents = {source: self.content(source)}
        else:
            found = members(self, source, lambda path: path.suffix == ".json")
            contents = {source / name: found[name] for name in sorted(found)}
            if not found:
                self.bad(source, None, "there must be JSON files", "none")
        for place, content in contents.items():
            for question in self._questions(content, place):
                try:
                    yield from self._row(question)
                except MalformedError as error:
                    self.bad(place, None, error.rule, error.found)

    def _questions(self, content: bytes, place: Path) -> list[Any]:
        """The questions of a file; none if it is bad."""
        text = self.decode(content, place)
        if text is None:
            return []
        try:
            value = parse_json(text, _FILE)
        except json.JSONDecodeError as error:
            self.bad(place, error.lineno, _FILE, f"invalid JSON at column {error.colno}")
            return []
        except MalformedError as error:
            self.bad(place, None, error.rule, error.found)
            return []
        questions = value.get("questions") if isinstance(value, dict) else None
        if not isinstance(questions, list):
            self.bad(place, None, _FILE, kind_of(value if questions is None else questions))
            return []
        return questions

    def _row(self, question: Any) -> Iterator[TextRow]:
        """The row of a question, or nothing if it is of another type."""
        if not isinstance(question, dict):
            raise MalformedError("a question must be an object", kind_of(question))
        name = text_of("id", question.get("id"))
        try:
            kind = text_of("type", question.get("type"))
            if kind != "yesno":
                self.left_out[f"question of the type {shown(kind, 'a type')}"] += 1
                return
            context = self._context(question.get("snippets", []))
            if not context and self.context == "snippets":
                self.adjusted[NO_SNIPPETS] += 1
            body = text_of("body", question.get("body")).strip()
            yield TextRow(name, name, text_of("body", body), context or None, label=_answer(question))
        except MalformedError as error:
            raise MalformedError(error.rule, f"{error.found} in question {quoted_id(name)}") from None

    def _context(self, snippets: Any) -> str:
        if self.context == "none":
            return ""
        if not isinstance(snippets, list) or not all(isinstance(snippet, dict) for snippet in snippets):
            raise MalformedError("snippets must be a list of objects", kind_of(snippets))
        return " ".join(text_of("text of a snippet", snippet.get("text")).strip() for snippet in snippets).strip()


def _answer(question: Mapping[str, Any]) -> str:
    """The label; early years write it in capitals, or as a list of one.

    >>> _answer({"exact_answer": ["Yes"]})
    'yes'
    """
    answer = question.get("exact_answer")
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, str) or answer.strip().lower() not in ANSWERS:
        raise MalformedError("exact_answer must be yes or no", kind_of(answer))
    return answer.strip().lower()

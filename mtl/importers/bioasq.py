"""Answers of another system to yes/no questions, in BioASQ's JSON for task B."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from heads import Row
from mtl.hashed_ids import quoted_id
from mtl.importers import FoundRow, Importer
from mtl.problems import Problem
from mtl.readers._columns import MalformedError
from mtl.readers._json import parse_json

_FILE = 'a file must be a JSON object with a list of "questions"'


class BioasqImporter(Importer):
    """``{"questions": [{"id": "…", "type": "yesno", "exact_answer": "yes"}]}``, a submission or a golden file.

    Case makes no difference, and an answer may be a list of one. Questions of other types are left out.
    """

    suffixes = (".bioasq.json",)

    def read(self, rows: Sequence[Row]) -> Iterator[FoundRow]:
        for question in self._questions():
            if not isinstance(question, dict) or not isinstance(question.get("id"), str):
                self._refuse("a question must be an object with an id", f"{type(question).__name__}")
            elif question.get("type", "yesno") != "yesno":
                self.left_out["questions of other types"] += 1
            else:
                label = _answer(question.get("exact_answer"))
                if label is None:
                    self._refuse("exact_answer must be yes or no", f"another one in {quoted_id(question['id'])}")
                else:
                    yield FoundRow(question["id"], str(self.path), answer={"label": label})

    def _questions(self) -> Sequence[Any]:
        """The questions of the file; none if it is bad."""
        text = "\n".join(line for _, line in self.lines())
        try:
            content = parse_json(text, _FILE)
        except MalformedError as error:
            self._refuse(error.rule, error.found)
            return []
        except json.JSONDecodeError as error:
            self.bad(error.lineno, _FILE, f"invalid JSON at column {error.colno}")
            return []
        questions = content.get("questions") if isinstance(content, dict) else None
        if not isinstance(questions, list):
            self._refuse(_FILE, "another one")
            return []
        return questions

    def _refuse(self, rule: str, found: str) -> None:
        self.problems.append(Problem(str(self.path), f"{rule}, got {found}."))


def _answer(answer: Any) -> str | None:
    """The label of an answer; None if it is neither yes nor no.

    >>> _answer(["Yes"])
    'yes'
    """
    if isinstance(answer, list) and len(answer) == 1:
        (answer,) = answer
    text = answer.strip().lower() if isinstance(answer, str) else ""
    return text if text in ("yes", "no") else None

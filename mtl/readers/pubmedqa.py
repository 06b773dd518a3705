"""The expert-labelled questions of PubMedQA (Jin et al. 2019): JSON files with the questions by PMID and the splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heads.rows import TextRow
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem
from mtl.readers import SPLITS, OnBadRow, Reader
from mtl.readers._columns import MalformedError
from mtl.readers._json import parse_json

_FIELDS = {"QUESTION": str, "CONTEXTS": list, "final_decision": str}


class PubMedQA(Reader):
    """Pairs of a question and an abstract without its conclusion, labelled yes, no or maybe.

    The conclusion (`LONG_ANSWER`) and the annotators' predictions (`reasoning_*_pred`) reveal the answer and are never
    read. A question and its row::

        "21645374": {"QUESTION": "Do …?", "CONTEXTS": ["…", "…"], "YEAR": "2011", "final_decision": "yes", …}
        TextRow("21645374", "21645374", "Do …?", "… …", label="yes", meta={"year": "2011"})

    Args:
        path: Folder of both files.
        questions: File that maps each PMID to the fields of its question.
        splits: File that maps train, dev and test to lists of PMIDs, in the order of the rows.
        on_bad_row: See `Reader`.
    """

    def __init__(
        self,
        path: str,
        *,
        questions: str = "ori_pqal.json",
        splits: str = "splits.json",
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, on_bad_row=on_bad_row)
        self.questions = self.path / questions
        self.splits = self.path / splits

    def sources(self) -> dict[str, Path]:
        named = {"questions": self.questions, "splits": self.splits}
        missing = [
            Problem(key, f"'{path}' is not a file.") for key, path in named.items() if not self.storage.is_file(path)
        ]
        if missing:
            raise InputError(missing)
        return dict.fromkeys(SPLITS, self.questions)

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        questions = self._object(source)
        splits = self._object(self.splits)
        if questions is None or splits is None:
            return
        if sorted(splits) != sorted(SPLITS) or not all(map(_are_names, splits.values())):
            self.bad(self.splits, None, "must map train, dev and test to lists of PMIDs", f"{len(splits)} keys")
            return
        uses = Counter(pmid for ids in splits.values() for pmid in ids)
        self.left_out["question in no split"] = len(questions.keys() - uses.keys())
        for pmid in splits[split]:
            rule = self._broken_rule(questions, pmid, uses[pmid])
            if rule is not None:
                self.bad(source, None, rule, quoted_id(str(pmid)))
                continue
            fields = questions[pmid]
            yield TextRow(
                id=pmid,
                document=pmid,
                text=fields["QUESTION"],
                text_pair=" ".join(fields["CONTEXTS"]),
                label=fields["final_decision"],
                meta={"year": str(fields["YEAR"])} if fields.get("YEAR") else {},
            )

    def _broken_rule(self, questions: dict[str, Any], pmid: str, uses: int) -> str | None:
        if uses > 1:
            return f"PMIDs must be unique in {self.splits.name}"
        if pmid not in questions:
            return f"PMIDs of {self.splits.name} must be in the file of the questions"
        fields = questions[pmid]
        if not isinstance(fields, dict) or not all(
            fields.get(name) and isinstance(fields[name], kind) for name, kind in _FIELDS.items()
        ):
            return f"a question must have {', '.join(_FIELDS)}"
        if not all(isinstance(context, str) for context in fields["CONTEXTS"]):
            return "CONTEXTS must be a list of strings"
        if not isinstance(fields.get("YEAR"), str | int | None):
            return "YEAR must be a string or an integer"
        return None

    def _object(self, path: Path) -> dict[str, Any] | None:
        """The JSON object in a file. Duplicate keys are reported, because `json` would silently drop the first."""
        text = self.decode(self.content(path), path)
        if text is None:
            return None
        duplicates: Counter[str] = Counter()

        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            duplicates.update(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            return dict(pairs)

        try:
            value = parse_json(text, "must be valid JSON", unique)
        except json.JSONDecodeError as error:
            self.bad(path, error.lineno, "must be valid JSON", f"'{error.msg}' at column {error.colno}")
            return None
        except MalformedError as error:
            self.bad(path, None, error.rule, error.found)
            return None
        for key in duplicates:
            self.bad(path, None, "keys must be unique (the last one is used)", f"{quoted_id(key)} again")
        if not isinstance(value, dict):
            self.bad(path, None, "must be a JSON object", f"a {type(value).__name__}")
            return None
        return value


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)

"""What the splits of a task share: documents, and texts word for word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import combinations

from heads import Row
from mtl.preparation import SplitData


def shared(splits: Mapping[str, SplitData]) -> dict[str, dict[str, int]]:
    """For each pair of splits that share something: how many documents, and how many rows' texts.

    A text is compared by its letters and digits alone, in lower case, a pair by both texts. Documents count only
    where the source knows any, that is where a document's id isn't just its row's id.

    Returns:
        ``{"test in train": {"documents": 3, "texts": 8}}``: of test, 3 documents and 8 rows are in train, too.
    """
    found = {}
    seen = {
        split: (_documents(content.rows), [_print(row) for row in content.rows]) for split, content in splits.items()
    }
    for earlier, later in combinations([split for split in ("train", "dev", "test") if split in seen], 2):
        texts = set(seen[earlier][1])
        counts = {
            "documents": len(seen[earlier][0] & seen[later][0]),
            "texts": sum(text in texts for text in seen[later][1]),
        }
        if any(counts.values()):
            found[f"{later} in {earlier}"] = counts
    return found


def _documents(rows: Iterable[Row]) -> set[str]:
    return {row.document for row in rows if row.document != row.id}


def _print(row: Row) -> bytes:
    text = f"{row.text}\x1f{row.text_pair or ''}".casefold()
    kept = "".join(character for character in text if character.isalnum() or character == "\x1f")
    return hashlib.sha256(kept.encode()).digest()[:12]

"""Finds the documents of a test split that overlap training data, so that scores without them can be given."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mtl.data.store import RowTable
from mtl.data.text_keys import SplitTexts

DECIDES_RESULTS = False


def overlapping_documents(test: RowTable, trained: Collection[RowTable]) -> set[str]:
    """The documents of test that are also in train, or have a row with the same text as one of train.

    Ids of documents and texts are compared as `mtl check` does.
    """
    texts = SplitTexts(test.fields())
    known = [SplitTexts(rows.fields()) for rows in trained]
    found: set[str] = set()
    for kind in (SplitTexts.texts, SplitTexts.ids):
        own = kind(texts)
        keys = np.concatenate([kind(one).keys for one in known])
        found |= {texts.documents[row] for row in own.rows[np.isin(own.keys, keys)].tolist()}
    return found

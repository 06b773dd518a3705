"""Ids of concepts as PubTator and BioC write several of them in one field."""

from __future__ import annotations

import re
from collections.abc import Collection

_VARIANT = re.compile(r"(?:tmVar:)?[A-Za-z]?\|(?:SUB|DEL|INS|DUP|INDEL|FS|CNV|SSR|Allele|Acid|AcidChange)\|[^,;]*")
"""An id of a variant as tmVar writes it, such as c|SUB|G|1691|A, whose bars do not separate ids."""


def concept_ids(field: str, related: Collection[str] = ()) -> tuple[str, ...]:
    """The ids in a field, separated by "|", "+", "," or ";"; -1 and - mean none.

    Args:
        field: The field.
        related: Ids that relations of the document name, which are not divided.

    >>> concept_ids("D014786|D006311"), concept_ids("-1"), concept_ids("2475,c|SUB|G|1691|A")
    (('D014786', 'D006311'), (), ('2475', 'c|SUB|G|1691|A'))
    """
    parts = [field]
    for separators in ("[,;]", "[|+]"):
        parts = [
            part
            for whole in parts
            for part in ([whole] if whole in related or _VARIANT.fullmatch(whole) else re.split(separators, whole))
        ]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip() not in ("", "-1", "-")))

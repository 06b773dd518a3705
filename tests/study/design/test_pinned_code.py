"""The code that decides the results of studies is as pinned, so that a change that retrains runs is deliberate.

Guards that do not fire, messages and the way files are written belong in modules with ``DECIDES_RESULTS = False``. If a
change is meant to decide results, run `python tests/study/design/test_pinned_code.py`, which pins the new state, and
say so in CHANGELOG.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mtl.balancing.fixed import Fixed
from mtl.code_identity import definitions
from mtl.config import components
from mtl.study.design.study_code import study_code

PINS = Path(__file__).with_name("pinned_code.json")
HEADS = (
    "classification",
    "generation",
    "masked_lm",
    "mention_classification",
    "multilabel",
    "regression",
    "relation",
    "token_classification",
)


def current() -> dict[str, str]:
    """A hash of each definition of ours that decides the results of a study with any of our heads."""
    code = study_code({}, {}, Fixed, permutes=True)
    roots = [root for group in code.roots.values() for root in group]
    heads = [components.find("head", name, name) for name in HEADS]
    found = definitions(*roots, *heads)
    return {name: value for name, value in sorted(found.items()) if name.split(".")[0] in ("mtl", "heads")}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="syntax trees differ between versions of Python")
def test_the_keys_of_finished_runs_have_not_changed() -> None:
    pinned, now = json.loads(PINS.read_text(encoding="utf-8")), current()
    changed = sorted(name for name in {*pinned, *now} if pinned.get(name) != now.get(name))
    assert changed == [], "runs of studies would be trained again"


if __name__ == "__main__":
    PINS.write_text(json.dumps(current(), indent=0) + "\n", encoding="utf-8")

"""The commands and files of docs/start.md, for the test that runs them and for the proof of a distribution."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
START = (REPOSITORY / "docs" / "start.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COPIES = 8
"""The page shows a few rows; as many copies of them make splits that hold every label."""


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return [match["text"] for match in BLOCK.finditer(START) if match["language"] == language]


def commands() -> list[str]:
    """The commands, in the order of the page."""
    return [line for block in blocks("bash") for line in block.splitlines() if line]


def files() -> dict[str, str]:
    """The files that the page writes out, by name: the code block after a sentence that ends with `name`."""
    pattern = re.compile(
        r"`(?P<name>[\w.]+)`[^`\n]*:\n\n```(?:json|csv|text|yaml)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
    )
    return {match["name"]: match["text"] for match in pattern.finditer(START)}


def write_files(folder: Path) -> None:
    """Writes the files, with enough copies of their rows."""
    for name, text in files().items():
        head, *lines = text.splitlines(keepends=True)
        repeated = {
            ".jsonl": text * COPIES,
            ".csv": head + "".join(lines) * COPIES,
            ".conll": f"{text}\n" * COPIES,  # a blank line after the last sentence too
        }
        (folder / name).write_text(repeated.get(Path(name).suffix, text), encoding="utf-8")

"""`mtl init`: drafts a mixture from data files."""

from __future__ import annotations

import argparse
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtl.config.mixture import EncoderSpec
from mtl.config.validation import task_name_problems
from mtl.drafting.draft import TaskDraft, as_yaml, draft_tasks
from mtl.files import write_text
from mtl.problems import InputError, Problem
from mtl.readers import SPLIT_NAMES


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl init FILE… [--output MIXTURE]`.

    Raises:
        InputError: No task fits a file, or the mixture file already exists.
    """
    parser = argparse.ArgumentParser(
        "mtl init", description="Drafts a mixture: the tasks of each file, or of each folder with a file per split."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="data files, or folders of a task's splits")
    parser.add_argument("--output", type=Path, metavar="MIXTURE", help="file to write (default: NAME.yaml)")
    parser.add_argument("--name", help="name of the mixture (default: the name of the first file)")
    default = EncoderSpec()
    parser.add_argument("--encoder", default=default.name, help=f"encoder (default: {default.name})")
    parser.add_argument(
        "--max-length",
        type=int,
        default=default.max_length,
        help=f"tokens of an example (default: {default.max_length})",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    options = parser.parse_args(arguments[1:])
    names = _names(options.files)
    name = options.name or names[0]
    output = options.output or Path(f"{name}.yaml")
    problems: list[Problem] = []
    if output.exists() and not options.force:
        problems.append(Problem(str(output), "The file exists.", "Choose another --output, or add --force."))
    tasks: list[TaskDraft] = []
    for path, task_name in zip(options.files, names, strict=True):
        try:
            if not path.exists():
                raise InputError(Problem(str(path), "There is no such file or folder.", "Check the path."))
            tasks += draft_tasks(path.absolute(), task_name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    tasks = _relative(tasks, output.absolute().parent)
    write_text(output, as_yaml(name, tasks, options.encoder, options.max_length, str(output)))
    for task in tasks:
        sys.stdout.write(f"{task.name}: {task.fields['head']}\n")
    sys.stdout.write(f"Wrote {output}. Read it, then: mtl check {output}\n")
    return 0


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each task: that of the file, or of its folder if the file is named after a split."""
    splits = {name for names in SPLIT_NAMES.values() for name in names}
    stems = [file.name.split(".")[0] for file in map(Path.absolute, files)]
    stems = [file.absolute().parent.name if stem in splits else stem for file, stem in zip(files, stems, strict=True)]
    names = [_task_name(stem) for stem in stems]
    repeated = Counter(names)
    return [f"{name}_{index}" if repeated[name] > 1 else name for index, name in enumerate(names, 1)]


def _task_name(stem: str) -> str:
    """A name that a task may have, close to that of a file.

    >>> _task_name("Ärztebriefe 2024"), _task_name("2024-notes"), _task_name("values"), _task_name("…")
    ('arztebriefe_2024', 'task_2024_notes', 'task_values', 'task')
    """
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"\W+", "_", plain).strip("_")[:90] or "task"
    return f"task_{name}" if task_name_problems(name) else name


def _relative(tasks: Sequence[TaskDraft], folder: Path) -> list[TaskDraft]:
    """The tasks with paths relative to the folder of the mixture where they lie below it."""
    written = []
    for task in tasks:
        data = dict(task.fields["data"])
        if "path" in data and Path(data["path"]).is_relative_to(folder):
            data["path"] = str(Path(data["path"]).relative_to(folder))
        written.append(task._replace(fields={**task.fields, "data": data}))
    return written

"""Leaves tasks out of a study if their data is absent and the study says that it may be."""

from __future__ import annotations

from mtl.data.reading import absent_files
from mtl.problems import InputError, Problem
from mtl.study.design.study_file import Study, design_problems


def with_available_data(study: Study) -> Study:
    """The study without those of its `optional_tasks` whose files do not exist.

    Raises:
        InputError: The tasks that are left are too few for the study; the error lists the absent files, with where to
            get them and where they go.
    """
    absent: list[Problem] = []
    for name, where in study.spec.optional_tasks.items():
        if name in study.mixture.tasks:
            found = absent_files(study.mixture.tasks[name].data, f"tasks.{name}.data")
            absent += [Problem(one.key, one.message, f"Get the data of '{name}' from {where}.") for one in found]
    names = {problem.key.split(".")[1] for problem in absent}
    left = {name: task for name, task in study.mixture.tasks.items() if name not in names}
    problems = design_problems(study.spec, left) if left else []
    if absent and (not left or problems):
        raise InputError([*absent, *problems])
    if not absent:
        return study
    out = [name for name in study.mixture.tasks if name in names]
    return study._replace(mixture=study.mixture.only(list(left)), left_out=(*study.left_out, *out))

"""Problems of a request, in the terms of its sender instead of those of the command line."""

from __future__ import annotations

from mtl.problems import InputError

_KEYS = {"--task": "tasks", "--mentions": "mentions", "--coverage": "coverage"}


def request_problems(error: InputError) -> list[dict[str, str]]:
    """The key, message and suggestion of each problem. Suggestions that name options of a command are left out.

    >>> from mtl.problems import Problem
    >>> request_problems(InputError(Problem("--task", "There is no task 'x'.", "Choices: y.")))
    [{'key': 'tasks', 'message': "There is no task 'x'.", 'suggestion': 'Choices: y.'}]
    """
    return [
        {
            "key": _KEYS.get(problem.key, problem.key),
            "message": problem.message,
            "suggestion": "" if "--" in problem.suggestion else problem.suggestion,
        }
        for problem in error.problems
    ]


def as_sentence(problems: list[dict[str, str]]) -> str:
    """The problems as one message."""
    return " ".join(" ".join(filter(None, (f"{p['key']}: {p['message']}", p["suggestion"]))) for p in problems)

"""What the runs of a study are trained on, and where."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictStr

from mtl.config import components
from mtl.config.mixture import Count, Positive, Section
from mtl.problems import InputError, Problem


class TrainerSpec(Section):
    """The hardware settings of each run. A run uses one device; the launcher decides how many runs train at once.

    Args:
        threads: Number of threads of each run. It affects the last digits of results, so it is a setting of the study
            and not of the launcher.
        accelerator: Lightning's name of the accelerator. `auto` is resolved on the machine that runs the command;
            set it explicitly if the nodes of a cluster differ.
        precision: Lightning's name of the precision; `auto` selects bf16 on a GPU that supports it, and 32-true on a
            CPU. (`mtl fit` times a CPU first, but the precision of a study is part of its run keys and must not depend
            on timing.)
        gradient_clip_val: Maximum norm of the gradient.
    """

    threads: Count = 1
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"] = "auto"
    gradient_clip_val: Positive = 1.0


class LauncherSpec(BaseModel):
    """Where the runs are trained; options of the launcher are further keys.

    Args:
        name: Name of the launcher, a module in `mtl/study/running/launchers`.
        workers: Number of runs that train at once.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: StrictStr = "local"
    workers: Count = 1

    @property
    def options(self) -> dict[str, Any]:
        """The options of the launcher."""
        return dict(self.model_extra or {})


def launcher_problems(launcher: LauncherSpec) -> list[Problem]:
    """Problems with the name and options of the launcher, and requirements that are missing on this machine."""
    try:
        cls = components.find("launcher", launcher.name, "launcher.name")
    except InputError as error:
        return error.problems
    problems = components.check_options(cls, launcher.options, "launcher", frozenset({"workers", "threads"}))
    if problems:
        return problems
    return [Problem("launcher", message, advice) for message, advice in cls.lacking(launcher.workers)]

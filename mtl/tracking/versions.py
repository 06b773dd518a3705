"""What besides seed and data decides the last digits of a result."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

PACKAGES = ("biomtl", "torch", "pytorch-lightning", "transformers", "torchmetrics", "datasets", "numpy", "mlflow")


def versions(device: str = "") -> dict[str, str]:
    """Packages, git commits, device and threads, by name.

    Args:
        device: Such as cpu; of "cuda", and where it is empty, the GPU's own name is told.
    """
    import torch

    if device in ("", "cuda"):
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    found = {"version.python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[f"version.{package}"] = metadata.version(package)
    found |= {
        "machine.system": f"{platform.system()} {platform.machine()}",
        "machine.cpus": str(os.cpu_count()),
        "machine.device": device,
        "machine.threads": str(torch.get_num_threads()),
    }
    found |= {f"git.{key}": value for key, value in _git(Path.cwd()).items()}
    return found | {f"git.biomtl.{key}": value for key, value in _git(Path(__file__).parent).items()}


def _git(folder: Path) -> dict[str, str]:
    """Commit of the repository that holds a folder, and whether that is all of its code.

    It isn't where tracked files were changed since, or where Python files were added, such as a new head.
    """
    git = shutil.which("git")
    if git is None:
        return {}

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)  # noqa: S603, PLW1510

    with suppress(OSError, subprocess.TimeoutExpired):
        commit = ask("rev-parse", "HEAD")
        # An environment inside a repository is ignored by it: its packages are not of that commit.
        if commit.returncode == 0 and ask("check-ignore", "-q", ".").returncode == 1:
            changed = ask("status", "--porcelain", "--untracked-files=no").stdout.strip()
            added = ask("ls-files", "--others", "--exclude-standard", "--full-name", ":/*.py").stdout.strip()
            dirty = bool(changed or added)
            return {"commit": commit.stdout.strip(), "dirty": str(dirty).lower()}
    return {}

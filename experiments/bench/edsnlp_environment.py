"""The environment of EDS-NLP, apart from ours, since both depend on the same packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENT = "edsnlp[ml]==0.23.0"
CONSTRAINTS = Path(__file__).resolve().parent.parent.parent / "constraints.txt"


def edsnlp_python(folder: Path) -> Path:
    """The Python of the environment in a folder, which is made if the folder does not exist.

    What both environments have, they have in the versions of constraints.txt.

    Raises:
        RuntimeError: The packages cannot be installed, or the folder is no environment.
    """
    if not folder.exists():
        try:
            make(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # so that the next try does not find half of it
            raise
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        raise RuntimeError("--edsnlp must be the folder of a virtual environment, but it has no bin/python.")
    return python


def make(folder: Path) -> None:
    """Makes the environment, which takes minutes and a GB."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder.absolute() / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--constraint", str(CONSTRAINTS), REQUIREMENT], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise RuntimeError(f"pip cannot install {REQUIREMENT}: {(errors or ['no message'])[0]}")

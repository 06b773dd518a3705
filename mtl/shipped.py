"""Finds the YAML and CSV files that come with the project and that commands read by name."""

from __future__ import annotations

from pathlib import Path

DECIDES_RESULTS = False


def shipped(kind: str) -> Path:
    """The folder with the files of a kind, such as `encoders`: `experiments/encoders` of the project.

    In a checkout, and with an editable install, it is that folder itself. A wheel has a copy in the package, which
    `setup.py` makes.

    Args:
        kind: Name of a folder that `setup.py` lists.

    Raises:
        FileNotFoundError: The installation lacks the folder.

    >>> (shipped("tasks") / "biosses.yaml").is_file()
    True
    """
    package = Path(__file__).parent
    places = [root / "experiments" / kind for root in (package, package.parent)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise FileNotFoundError(f"The installation of biomtl lacks the files of experiments/{kind}. Install it again.")
    return found

"""How the numeric libraries' threads wait, set before these libraries load."""

from __future__ import annotations

import os

DECIDES_RESULTS = False


def set_thread_defaults() -> None:
    """Settings that must stand before the heavy libraries load."""
    # OpenMP threads that spin for long starve those of another process on the machine; ones that never spin are slow to
    # wake. A short spin (GNU's runtime; others only wait) is nearly as quick as a long one, alone or in company.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # Said in so many words, or tokenizers complain when a process is forked; ours tokenise in none that is.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

"""Claims on trials, which training processes share with the search."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mtl.tuning.claims import TrialClaim


def test_a_claim_outlives_its_process_while_its_training_runs(tmp_path: Path) -> None:
    claim = TrialClaim.take(tmp_path / "claim")
    assert claim is not None
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(claim.handle,))
    with claim:
        assert TrialClaim.take(tmp_path / "claim") is None
    assert TrialClaim.take(tmp_path / "claim") is None
    sleeper.communicate(b"\n")
    deadline = time.monotonic() + 60
    while (again := TrialClaim.take(tmp_path / "claim")) is None:
        assert time.monotonic() < deadline
    os.close(again.handle)

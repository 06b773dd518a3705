import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl.problems import InputError
from mtl.study.running import ledger as module
from mtl.study.running.ledger import Ledger
from mtl.tracking.checkpoint_file import write_checkpoint

KEY = "ab" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def test_a_finished_result_is_complete(ledger: Ledger) -> None:
    assert ledger.result(KEY) is None
    counts = {"gad": {"documents": np.array(["1", "2"]), "counts": np.ones((2, 4)), "owners": np.arange(2)}}
    ledger.fail(KEY, {"error": "out of memory"})
    ledger.finish(KEY, {"test": {"gad": {"f1": 0.5}}}, counts)
    assert ledger.result(KEY) == {"test": {"gad": {"f1": 0.5}}}
    assert ledger.failure(KEY) is None
    found = ledger.counts(KEY)["gad"]
    assert found["documents"].tolist() == ["1", "2"]
    assert found["counts"].tolist() == np.ones((2, 4)).tolist()
    assert ledger.is_finished(KEY)
    assert not ledger.is_finished(KEY, with_encoder=True)


def test_a_repeat_keeps_the_result_and_clears_the_failure(ledger: Ledger) -> None:
    ledger.finish(KEY, {"cost": {"seconds": 1.0}}, {})
    ledger.fail(KEY, {"error": "out of memory"})
    assert ledger.repeats(KEY) == []
    for seconds in (2.0, 3.0):
        ledger.note_repeat(KEY, {"cost": {"seconds": seconds}})
    assert [repeat["cost"]["seconds"] for repeat in ledger.repeats(KEY)] == [2.0, 3.0]
    assert ledger.result(KEY) == {"cost": {"seconds": 1.0}}
    assert ledger.failure(KEY) is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "flipped": flip,
}


CASES = [(name, kind) for name in ("counts.npz", "encoder.pt", "result.json") for kind in DAMAGES]
CASES.remove(("result.json", "flipped"))  # JSON has no checksum


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_damaged_file_is_named_and_its_run_is_trained_again(name: str, kind: str, ledger: Ledger) -> None:
    rng = np.random.default_rng(0)
    counts = {"gad": {"documents": np.arange(40).astype(str), "counts": rng.random((40, 4)), "owners": np.arange(40)}}
    other = "cd" * 32
    for key in (KEY, other):
        ledger.finish(key, {"test": {"gad": {"f1": 0.5}}}, counts)
        write_checkpoint(ledger.encoder(key), partial(torch.save, {"weight": torch.rand(50)}))
    assert ledger.set_damaged_aside([KEY, other, "ef" * 32]) == []
    path = ledger.run_folder(KEY) / name
    DAMAGES[kind](path)
    if name != "encoder.pt":
        with pytest.raises(InputError) as caught:
            ledger.results([other, KEY])
        assert [problem.key for problem in caught.value.problems] == [str(path)]
    (message,) = ledger.set_damaged_aside([KEY, other])
    assert message.startswith(f"{path} ")
    assert not ledger.is_finished(KEY, with_encoder=True)
    assert ledger.is_finished(KEY) == (name == "encoder.pt")
    assert ledger.is_finished(other, with_encoder=True)
    ledger.finish(KEY, {"test": {"gad": {"f1": 0.5}}}, counts)
    assert list(ledger.results([KEY])) == [KEY]


def test_a_full_disk_leaves_no_result(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(InputError) as caught:
        ledger.finish(KEY, {}, {})
    assert [problem.key for problem in caught.value.problems] == [str(ledger.run_folder(KEY) / "counts.npz")]
    assert list(ledger.run_folder(KEY).iterdir()) == []


def test_one_process_holds_a_claim_until_it_is_released(ledger: Ledger) -> None:
    claim = ledger.claim(KEY)
    assert claim is not None
    with claim:
        assert ledger.claim(KEY) is None
    again = ledger.claim(KEY)
    assert again is not None


def test_the_claim_of_a_killed_process_is_free_at_once(ledger: Ledger) -> None:
    code = (
        "import os, signal; from pathlib import Path; from mtl.study.running.ledger import Ledger;"
        f"assert Ledger(Path({str(ledger.folder)!r})).claim({KEY!r}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not asked yet how it ended
    assert (ledger.run_folder(KEY) / "claim").is_file()
    assert ledger.claim(KEY) is not None
    assert process.wait() == -9


def test_a_claim_counts_the_processes_of_its_session_that_died_in_the_run(ledger: Ledger) -> None:
    for _ in range(2):
        code = (
            "import os, signal; from pathlib import Path; from mtl.study.running.ledger import Ledger;"
            f"assert Ledger(Path({str(ledger.folder)!r})).claim({KEY!r}, 'one'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    claim = ledger.claim(KEY, "one")
    assert claim is not None
    assert claim.deaths == 2
    with claim:
        pass
    fresh = ledger.claim(KEY, "one")
    assert fresh is not None
    assert fresh.deaths == 0


def test_the_claim_of_another_machine_is_free_without_a_heartbeat(ledger: Ledger) -> None:
    path = ledger.run_folder(KEY) / "claim"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "started": 0.0}))
    assert ledger.claim(KEY) is None
    past = time.time() - module.LEASE - 1
    os.utime(path, (past, past))
    assert ledger.claim(KEY) is not None


def test_a_process_with_the_id_of_a_dead_one_does_not_keep_its_claim(ledger: Ledger) -> None:
    path = ledger.run_folder(KEY) / "claim"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": 1.0}))
    assert ledger.claim(KEY) is not None


def test_a_claim_has_a_heartbeat(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)
    claim = ledger.claim(KEY)
    assert claim is not None
    path = ledger.run_folder(KEY) / "claim"
    os.utime(path, (0, 0))
    with claim:
        for _ in range(500):
            if path.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
    assert not path.exists()


def test_only_one_of_many_simultaneous_claims_succeeds(ledger: Ledger) -> None:
    code = (
        "import sys, time; from pathlib import Path; from mtl.study.running.ledger import Ledger;"
        f"claim = Ledger(Path({str(ledger.folder)!r})).claim({KEY!r}); print(claim is not None, flush=True);"
        "sys.stdin.read()"
    )
    stale = ledger.run_folder(KEY) / "claim"
    stale.parent.mkdir(parents=True)
    stale.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1, "started": 0.0}))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(4)]  # type: ignore[call-overload]
    found = [process.stdout.readline().strip() for process in started]
    for process in started:
        process.communicate()
    assert sorted(found) == ["False", "False", "False", "True"]

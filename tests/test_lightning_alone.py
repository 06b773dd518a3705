"""Lightning alone under faults that this project guards against; the long version prints the counts."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtl import commands
from mtl.tracking.run_folder import FOLDER_VARIABLE
from tests import lightning_alone as alone
from tests.kill_points import OTHER_FILE_SYSTEM, QUIET, Training, fresh_environment, has_ended, wait
from tests.lightning_alone import DAMAGE, Saver

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")  # restores it
    monkeypatch.delenv(FOLDER_VARIABLE)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files on another file system."""
    with tempfile.TemporaryDirectory(dir=OTHER_FILE_SYSTEM) as folder:
        yield Path(folder)


def killed_saves(folder: Path, temporary: Path, number: int, *, is_ours: bool) -> Counter[str]:
    """The counts of some kills in saves, at most 60 ms after the unfinished file has appeared."""
    rng, counts = random.Random(1), Counter[str]()
    for index in range(number):
        place = folder / f"{'ours' if is_ours else 'lightning'}-{index}"
        counts += alone.killed_save(Saver(place, is_ours), temporary, rng.uniform(0, 0.06))
        for file in temporary.iterdir():
            file.unlink()
    return counts


def test_a_kill_in_a_save_leaves_our_last_readable(tmp_path: Path, temporary: Path) -> None:
    assert killed_saves(tmp_path, temporary, 2, is_ours=True) == Counter(killed=2)


def test_lightning_alone_resumes_from_flipped_bytes_and_ours_from_the_previous_checkpoint(tmp_path: Path) -> None:
    rng, flip = random.Random(1), DAMAGE["64 bytes flipped"]
    found = alone.resumed_from_damage(Saver(tmp_path / "lightning", is_ours=False), flip, rng)
    assert found == "resumed from the damaged file"  # or this project's own checksums would be superfluous
    ours = alone.resumed_from_damage(Saver(tmp_path / "ours", is_ours=True), flip, rng)
    assert ours == "resumed from the previous one"


def test_lightning_alone_saves_weights_that_are_nan(tmp_path: Path) -> None:
    damaged, number = alone.nan_weights_of_lightning(tmp_path / "lightning")
    assert damaged == number > 0


@pytest.mark.soak
def test_kills_in_saves(tmp_path: Path, temporary: Path) -> None:
    for is_ours in (False, True):
        counts = killed_saves(tmp_path, temporary, 40, is_ours=is_ours)
        print(f"\n{'ours' if is_ours else 'Lightning'}: {dict(counts)}")
    assert counts == Counter(killed=40)


@pytest.mark.soak
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_checkpoints(kind: str, tmp_path: Path) -> None:
    for is_ours in (False, True):
        savers = [Saver(tmp_path / f"{is_ours}-{index}", is_ours) for index in range(5)]
        rng = random.Random(1)
        outcomes = Counter(alone.resumed_from_damage(saver, DAMAGE[kind], rng) for saver in savers)
        print(f"\n{kind}, {'ours' if is_ours else 'Lightning'}: {dict(outcomes)}")
    assert set(outcomes) == {"resumed from the previous one"}


@pytest.mark.soak
def test_a_loss_that_is_nan(toy_mixture: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heads.classification import Classification

    damaged, number = alone.nan_weights_of_lightning(tmp_path / "lightning")
    print(
        f"\nLightning: {damaged} of {number} weights of `last` are NaN after the training, which ends without an error"
    )
    real, calls = Classification.loss, iter(range(1000))

    def loss(self: Classification, *arguments: object) -> tuple[object, object]:
        total, count = real(self, *arguments)  # type: ignore[arg-type]
        return (total * float("nan") if next(calls) >= 2 else total), count

    monkeypatch.setattr(Classification, "loss", loss)
    training = Training(toy_mixture(), tmp_path / "ours", tmp_path, ("--run.save_every=1",))
    with fresh_environment(tmp_path):
        words = ["fit", f"--mixture={training.mixture}", f"--run.root={training.root}", *QUIET, "--run.save_every=1"]
        with alone.quietly(), pytest.raises(SystemExit) as stopped:
            commands.run(words)
    code = stopped.value.code
    assert training.run is not None
    found = [alone.not_finite(path) for path in training.run.checkpoints.glob("*.ckpt")]
    info = training.run.info
    print(f"ours: exit {code}, {info['status']}, not finite and all weights: {found}")
    assert [damaged for damaged, _ in found] == [0] * len(found)
    assert (code, info["status"]) == (1, "FAILED")


@pytest.mark.soak
@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM])
def test_signals(sent: signal.Signals, toy_mixture: Callable[..., Path], tmp_path: Path) -> None:
    code, has_saved = alone.lightning_after(sent, tmp_path / "lightning")
    print(f"\n{sent.name}, Lightning: exit status {code}, {'a' if has_saved else 'no'} checkpoint")
    training = Training(
        toy_mixture(), tmp_path / "ours", tmp_path, ("--run.save_minutes=null", "--trainer.max_epochs=50")
    )
    with fresh_environment(tmp_path):
        process = training.start()
        while training.updates < 3 and not has_ended(process):
            time.sleep(0.01)
        os.kill(process, sent)
        code = wait(process)
    assert training.run is not None
    print(f"ours: exit status {code}, {training.run.info['status']}, checkpoint {training.last()}")
    assert (code, training.run.info["status"]) == (1, "KILLED")
    assert training.last() is not None

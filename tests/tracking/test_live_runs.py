import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mtl.problems import InputError
from mtl.processes import this_process
from mtl.tracking import live_runs
from mtl.tracking.live_runs import take
from mtl.tracking.run_folder import LEASE, RunFolder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(live_runs, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(live_runs, "BEAT", 0.05)
    return RunFolder.create(tmp_path, "toy", 1)


def held_by(run: RunFolder, **identity: Any) -> None:
    run.begin_training()
    run.update_info(process={**run.info["process"], **identity})


def silent_for(run: RunFolder, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(run.path / "run.json", (when, when))


def test_a_run_that_another_process_trains_is_left_as_it_is(run: RunFolder) -> None:
    run.checkpoints.mkdir()
    unfinished = run.checkpoints / f".last-step4.ckpt.{os.getpid()}-{threading.get_ident()}"
    unfinished.write_bytes(b"half")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        held_by(run, pid=process.pid, started=psutil.Process(process.pid).create_time())
        before = run.info
        with pytest.raises(InputError) as caught:
            take(run)
        (problem,) = caught.value.problems
        assert problem.key == str(run.path)
        assert str(process.pid) in problem.message
        assert run.info == before
        assert unfinished.exists()
    finally:
        process.kill()
        process.wait()
    take(run)
    assert run.info["process"]["pid"] == os.getpid()
    assert run.info["status"] == "RUNNING"
    assert not unfinished.exists()
    take(run)  # it is this process that trains it


def test_of_two_processes_that_start_at_once_one_trains_the_run(run: RunFolder, tmp_path: Path) -> None:
    run.update_info(status="KILLED")
    code = (
        "import pathlib, sys, time\n"
        "from mtl.problems import InputError\n"
        "from mtl.tracking.live_runs import take\n"
        "from mtl.tracking.run_folder import RunFolder\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    take(RunFolder(pathlib.Path(sys.argv[1])))\n"
        "    print('taken', flush=True)\n"
        "except InputError:\n"
        "    print('refused', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    def lines() -> list[str]:
        return [process.stdout.readline().strip() for process in both if process.stdout is not None]

    try:
        assert lines() == ["ready", "ready"]
        for process in both:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert sorted(lines()) == ["refused", "taken"]
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_a_silent_process_on_another_machine_is_waited_for_and_then_replaced(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    held_by(run, host="elsewhere", pid=17)
    silent_for(run, LEASE - 0.2)
    take(run)
    assert run.info["process"]["pid"] == os.getpid()
    assert "17 on elsewhere" in capsys.readouterr().err


def test_a_machine_whose_clock_is_ahead_is_not_waited_for_longer(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(run, host="elsewhere")
    monkeypatch.setattr(live_runs, "LEASE", 0.2)
    silent_for(run, -3600)
    take(run)
    assert run.info["process"]["pid"] == os.getpid()


def test_a_sign_of_life_from_another_machine_ends_the_wait(run: RunFolder) -> None:
    held_by(run, host="elsewhere", pid=17)
    silent_for(run, 30)
    beat = threading.Timer(0.1, run.beat)
    beat.start()
    with pytest.raises(InputError, match="elsewhere"):
        take(run)
    beat.join()
    assert run.info["process"]["pid"] == 17


def test_a_requeued_job_takes_its_run_from_the_machine_that_failed(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    held_by(run, **{**this_process(), "host": "elsewhere"})
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    take(run)
    assert run.info["process"]["restarts"] == 1
    assert run.info["status"] == "RUNNING"

import json
import shutil
import subprocess
import sys

import psutil
import pytest

from mtl.processes import has_ended, is_this_process, this_process


def test_this_process_has_not_ended() -> None:
    assert has_ended(this_process()) is False


def test_a_process_that_was_killed_has_ended_even_before_its_parent_has_noticed() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    identity = {**this_process(), "pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    assert has_ended(identity) is False
    process.kill()
    psutil.wait_procs([psutil.Process(process.pid)], timeout=0.5)
    assert has_ended(identity) is True
    process.wait()
    assert has_ended(identity) is True


def test_another_process_with_the_same_id_does_not_count() -> None:
    assert has_ended({**this_process(), "started": 1.0}) is True


def test_a_process_of_another_machine_is_unknown() -> None:
    assert has_ended({**this_process(), "host": "elsewhere"}) is None


def test_a_process_of_another_container_with_the_name_of_this_host_is_unknown() -> None:
    show = "import json; from mtl.processes import this_process; print(json.dumps(this_process()))"
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a namespace of process ids")
    shown = subprocess.run([*alone, sys.executable, "-c", show], check=True, capture_output=True, text=True).stdout
    identity = json.loads(shown)
    assert identity["host"] == this_process()["host"]
    assert identity["pid"] == 1  # as in every container; here, this is the id of another process, which is alive
    assert has_ended(identity) is None
    assert not is_this_process({**this_process(), "namespace": identity["namespace"]})
    assert is_this_process(this_process())


def test_an_earlier_version_recorded_no_container() -> None:
    earlier = {name: value for name, value in this_process().items() if name != "namespace"}
    assert has_ended(earlier) is False
    assert has_ended({**earlier, "started": 1.0}) is True
    assert not is_this_process({**earlier, "started": 1.0})


def test_a_process_of_an_earlier_start_of_this_slurm_job_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = {**this_process(), "host": "elsewhere"}
    assert has_ended(first) is None  # another step of the same job may run there
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert has_ended(first) is True
    assert has_ended({**this_process(), "host": "elsewhere"}) is None
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert has_ended(first) is None

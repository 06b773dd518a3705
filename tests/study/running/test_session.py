"""A study from its file to its findings: resumed, killed, extended, changed, shared, and by every launcher."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl.commands import run as run_mtl
from mtl.encoder.location import encoder_identity
from mtl.files import finite
from mtl.problems import InputError, Problem
from mtl.study.design.study_file import load_study
from mtl.study.running import worker
from mtl.study.running.launchers.processes import REPLACEMENTS, Processes
from mtl.study.running.ledger import Ledger
from mtl.study.running.read_back import read_study
from mtl.study.running.session import Session
from mtl.study.running.study_tracker import StudyTracker
from mtl.study.running.train_run import train

pytestmark = pytest.mark.usefixtures("trained_once")

ROOT = Path("runs")


@pytest.fixture(autouse=True)
def _store_for_other_roots(empty_store: Path, tmp_path: Path) -> None:
    """An empty store of MLflow to copy."""
    shutil.copy(empty_store, tmp_path / "empty.db")


def session(path: Path, *overrides: str, root: Path = ROOT) -> Session:
    """A study on a root; another root has a store of its own, or it would take the first one's runs from MLflow."""
    made = Session(load_study(path, overrides), root)
    if root != ROOT:
        root.mkdir(exist_ok=True)
        if not (root / "mlflow.db").exists():
            shutil.copy("empty.db", root / "mlflow.db")
        made.tracker = StudyTracker(made.spec.name, made.spec.experiment, f"sqlite:///{root / 'mlflow.db'}")
    return made


def finish(path: Path, *overrides: str, root: Path = ROOT) -> Session:
    made = session(path, *overrides, root=root)
    made.run(f"session of {time.monotonic_ns()}")
    made.tracker.close()
    return made


def matrix(made: Session) -> list[Any]:
    return [
        (family.design, gain.target, gain.partner, gain.differences, gain.documents)
        for family in made.findings().families
        for gain in family.gains
    ]


def trained(root: Path = ROOT) -> dict[str, int]:
    """When each run of the ledger was finished."""
    return {file.parent.name: file.stat().st_mtime_ns for file in (root / "ledger").glob("*/*/result.json")}


@pytest.fixture
def trains(trained_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is trained, as in use: for tests of the time that this takes."""
    monkeypatch.setattr("mtl.study.running.train_run.train", train)


@pytest.fixture
def command(toy_study: Callable[..., Path]) -> Callable[..., list[str]]:
    def make(action: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "mtl", "study", action, "study.yaml", *words]

    return make


@pytest.mark.slow
def test_a_study_gives_every_gain_with_its_seeds(toy_study: Callable[..., Path]) -> None:
    made = finish(toy_study(designs=["pairwise", "sequential", "joint"], controls=["replicate"]))
    findings = made.findings()
    assert [family.design for family in findings.families] == ["pairwise", "sequential", "joint", "replicate"]
    assert [len(family.gains) for family in findings.families] == [6, 6, 3, 3]
    for family in findings.families:
        for gain in family.gains:
            assert len(gain.differences) == 2
            expected = [after - before for after, before in zip(gain.treated, gain.reference, strict=True)]
            assert gain.differences == pytest.approx(expected)
            assert gain.cell.verdict == "unresolvable"
            assert gain.documents is not None
    assert not findings.missing
    assert len(findings.costs) == len(made.plan.run_specs)
    assert findings.grouping is not None


def test_a_second_command_trains_nothing_and_gives_the_same_matrix(toy_study: Callable[..., Path]) -> None:
    path = toy_study()
    first = finish(path)
    times = trained()
    second = finish(path)
    assert trained() == times
    assert matrix(second) == matrix(first)


def test_more_seeds_and_tasks_train_only_what_is_new(toy_study: Callable[..., Path]) -> None:
    path = toy_study(tasks=["cause", "drugs"])
    finish(path)
    times = trained()
    finish(path, "seeds=3", "tasks=[cause, drugs, risk]")
    assert {key: trained()[key] for key in times} == times
    assert len(times) == 2 * 3
    assert len(trained()) == 3 * 6


def test_seeds_added_after_results_are_available_are_a_deviation(toy_study: Callable[..., Path]) -> None:
    path = toy_study(tasks=["cause", "drugs"], designs=["single"])
    assert finish(path).findings().deviations == ()
    assert finish(path).findings().deviations == ()
    for _ in range(2):
        (deviation,) = finish(path, "seeds=3").findings().deviations
        assert ": 0, 1; then 0, 1, 2." in deviation
    assert finish(path, "seeds=3", "name=planned").findings().deviations == ()


def test_studies_share_their_runs(toy_study: Callable[..., Path]) -> None:
    path = toy_study(designs=["single"])
    finish(path)
    before = trained()
    made = finish(path, "name=second", "designs=[joint]")
    assert {key: trained()[key] for key in before} == before
    assert len(trained()) == len(before) + 2
    assert sum(cost.reused for cost in made.findings().costs) == len(before)


@pytest.mark.slow
def test_a_failed_run_is_recorded_and_the_others_continue(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _let_fail(monkeypatch, "cause + risk, seed 1")
    toy_study()
    assert run_mtl(["study", "run", "study.yaml"]) == 1
    error = capsys.readouterr().err
    assert "pairwise: cause with risk lacks seed 1: 'cause + risk, seed 1' failed: MemoryError" in error
    assert "no room" not in error  # messages of other code may quote a row
    (failure,) = Path("runs/ledger").glob("*/*/failure.json")
    written = json.loads(failure.read_text())
    assert "MemoryError" in written["error"]
    assert "test_session.py" in written["traceback"]
    assert "(no room)" not in str(written)
    assert "pairwise: risk with cause lacks seed 1" in error
    assert len(trained()) == 11
    _let_fail(monkeypatch, "none")
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    assert len(trained()) == 12


def test_an_undefined_score_is_shown_as_undefined(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def undefined(order: Any, ledger: Ledger) -> Any:
        result, counts = train(order, ledger)
        result["test"]["cause"]["accuracy"] = None if order.seed else 0.0
        return result, counts

    monkeypatch.setattr("mtl.study.running.train_run.train", undefined)
    finish(toy_study(designs=["single"], tasks=["cause"]))
    error = capsys.readouterr().err
    assert "cause, seed 0: cause 0.000 (" in error
    assert "cause, seed 1: cause undefined (" in error


def test_a_run_whose_source_failed_is_missing_and_no_worker_waits_for_it(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _let_fail(monkeypatch, "cause, seed 0")
    made = finish(toy_study(designs=["sequential"], tasks=["cause", "risk"]))
    assert len(trained()) == 2 * 4 - 2
    assert any(
        "risk with cause lacks seed 0: 'cause, seed 0' failed: MemoryError" in text for text in made.findings().missing
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [pytest.param("{name: local}", marks=pytest.mark.soak), "{name: processes, workers: 2}"]
)
def test_a_killed_driver_resumes_to_the_same_matrix(
    toy_study: Callable[..., Path], command: Callable[..., list[str]], tmp_path: Path, launcher: str
) -> None:
    import psutil

    path = toy_study(designs=["sequential"], tasks=["cause", "risk"], budget={"updates": 20, "evaluations": 2})
    undisturbed = finish(path, root=tmp_path / "undisturbed")
    process = subprocess.Popen(
        command("run", f"launcher={launcher}"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _wait_for(lambda: len(trained()) >= 2)
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_for(lambda: not any(worker.is_running() for worker in workers))  # they end after the run they are at
    before = trained()
    assert 2 <= len(before) < 8
    resumed = finish(path)
    assert {key: trained()[key] for key in before} == before
    assert matrix(resumed) == matrix(undisturbed)


@pytest.mark.slow
def test_a_killed_worker_costs_only_its_partly_trained_run(
    toy_study: Callable[..., Path], command: Callable[..., list[str]], tmp_path: Path
) -> None:
    import psutil

    path = toy_study(designs=["sequential"], tasks=["cause", "risk"], budget={"updates": 60, "evaluations": 2})
    undisturbed = finish(path, root=tmp_path / "undisturbed")
    process = subprocess.Popen(
        command("run", "launcher={name: processes, workers: 2}"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    _wait_for(lambda: any(claim.stat().st_size for claim in Path("runs/ledger").glob("*/*/claim")))
    holder = json.loads(next(Path("runs/ledger").glob("*/*/claim")).read_text())
    psutil.Process(holder["pid"]).kill()
    _, stderr = process.communicate(timeout=900)
    assert process.returncode == 0
    assert b"(exit code -9)" in stderr
    assert matrix(session(path)) == matrix(undisturbed)


def test_a_worker_that_dies_is_replaced_a_few_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Fragile(Processes):
        """Each worker dies at the start."""

        def command(self, file: Path, number: int) -> list[str]:
            return [sys.executable, "-c", f"open({str(tmp_path / 'begun')!r}, 'a').write('x'); raise SystemExit(9)"]

    work = worker.Work((), Ledger(tmp_path / "ledger"), "one", "toy")
    Fragile(2, 1).run(work, tmp_path, lambda: None, lambda order: None)
    assert (tmp_path / "begun").read_text() == "x" * 2 * (1 + REPLACEMENTS)
    assert "(exit code 9)" in capsys.readouterr().err


def test_a_run_that_kills_two_workers_has_failed_until_the_next_command(
    toy_study: Callable[..., Path],
) -> None:
    made = session(toy_study(designs=["single"], tasks=["cause"]))
    poisonous, other = made.plan.run_specs

    code = (
        "import os, signal, sys; from pathlib import Path; from mtl.study.running.ledger import Ledger;"
        f"Ledger(Path({str(made.ledger.folder)!r})).claim({poisonous.key!r}, 'one');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(worker.MAX_DEATHS):
        subprocess.run([sys.executable, "-c", code], check=False)
    worker.train_all(worker.Work(made.plan.run_specs, made.ledger, "one", "toy"))
    assert set(trained()) == {other.key}
    (sentence,) = made.findings().missing
    assert sentence.startswith("single: 'cause, seed 0' failed: 2 ")
    finish(Path("study.yaml"))
    assert set(trained()) == {poisonous.key, other.key}


@pytest.mark.slow
def test_two_drivers_on_one_study_share_its_runs(toy_study: Callable[..., Path]) -> None:
    from mlflow import MlflowClient

    path = toy_study(budget={"updates": 20, "evaluations": 2})
    noting = (
        "import os, sys; from mtl.study.running import train_run; real = train_run.train\n"
        "def train(order, ledger):\n"
        "    open('trained', 'a').write(f'{os.getpid()} {order.key}\\n'); return real(order, ledger)\n"
        "train_run.train = train; from mtl.commands import run; sys.exit(run(['study', 'run', 'study.yaml']))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", noting], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    stderr = [process.communicate(timeout=900)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    notes = [line.split() for line in Path("trained").read_text().splitlines()]
    assert sorted(key for _, key in notes) == sorted(trained())  # each once
    assert len(notes) == 12
    assert {int(pid) for pid, _ in notes} == {process.pid for process in both}
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    (experiment,) = [e for e in client.search_experiments() if e.name == "biomtl-studies"]
    nested = client.search_runs([experiment.experiment_id], "tags.kind = 'study_run'")
    assert len(nested) == len({run.data.tags["key"] for run in nested}) == 12, stderr
    assert not session(path).findings().missing


def test_an_interrupt_that_python_ignores_stops_the_study_after_the_run(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Tidying:
        """An object whose end is interrupted, which Python tells and forgets."""

        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def interrupted(order: Any, ledger: Ledger) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda unraisable: None)
            Tidying()
        return train(order, ledger)

    monkeypatch.setattr("mtl.study.running.train_run.train", interrupted)
    toy_study(designs=["single"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    try:
        assert run_mtl(["study", "run", "study.yaml"]) == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "1 of 6 runs" in capsys.readouterr().err
    assert len(trained()) == 1


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("tokens_per_batch=256", ["tokens_per_batch: None -> 256"]),
        ("tasks.cause.options.pooling=mean", ["tasks.cause.options.pooling: None -> mean"]),
        ("", ["encoder.weights: "]),  # other files under the same name
    ],
)
def test_changes_that_give_runs_other_keys_are_reported(
    change: str, parts: list[str], toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path, mixture, encoder = toy_study(designs=["single"], tasks=["cause"]), tmp_path / "toy.yaml", tmp_path / "encoder"
    content = OmegaConf.load(mixture)
    shutil.copytree(content.encoder.name, encoder)
    OmegaConf.save(OmegaConf.merge(content, {"encoder": {"name": str(encoder)}}), mixture)
    finish(path)
    if change:
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(mixture), OmegaConf.from_dotlist(change.split())), mixture)
    else:
        (encoder / "note.txt").write_text("new")
        encoder_identity.cache_clear()
    (sentence,) = session(path).history.changes()
    assert all(part in sentence for part in parts)


def test_removed_tasks_change_no_code(toy_study: Callable[..., Path]) -> None:
    path = toy_study(designs=["single"])
    finish(path)
    assert session(path, "tasks=[cause, risk]").history.changes() == []


def test_two_commands_whose_runs_all_fail_try_each_once(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail(order: Any, ledger: Ledger) -> Any:
        tried.append(order.key)
        raise MemoryError("no room")

    monkeypatch.setattr("mtl.study.running.train_run.train", fail)
    made = session(toy_study(designs=["single"]))
    for name in ("one", "other", "one", "other"):
        worker.train_all(worker.Work(made.plan.run_specs, made.ledger, name, "toy"))
    assert len(tried) == 2 * len(made.plan.run_specs)


def test_an_encoder_that_another_study_deletes_is_trained_again(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toy_study(designs=["sequential"], tasks=["cause", "risk"], seeds=2)
    made = session(path)
    sources = [order for order in made.plan.run_specs if order.source is None]
    worker.train_all(worker.Work(tuple(sources), made.ledger, "one", "toy"))
    dropped = []

    def dropping(order: Any, ledger: Ledger) -> Any:
        if order.source is not None and not dropped:
            dropped.append(order.key)
            ledger.encoder(order.source).unlink()
        return train(order, ledger)

    monkeypatch.setattr("mtl.study.running.train_run.train", dropping)
    made.run("two")
    made.tracker.close()
    assert dropped
    assert len(trained()) == len(made.plan.run_specs)
    assert not made.findings().missing


@pytest.mark.usefixtures("trains")
def test_a_run_that_is_trained_again_for_its_encoder_keeps_its_result_and_its_time_counts(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_study(designs=["single"], tasks=["cause", "risk"])
    first = finish(path)  # keeps no encoders
    before = {order.key: first.ledger.result(order.key) for order in first.plan.run_specs}
    second = finish(path, "name=second", "designs=[sequential]")
    assert {key: second.ledger.result(key) for key in before} == before
    repeats = [repeat for key in before for repeat in second.ledger.repeats(key)]
    assert len(repeats) == len(before)
    assert [repeat["differences"] for repeat in repeats] == [[]] * len(before)
    assert "Warning" not in capsys.readouterr().err
    found = second.findings()
    assert found.repeat_seconds == pytest.approx(sum(repeat["cost"]["seconds"] for repeat in repeats))
    assert {cost.key for cost in found.costs if cost.reused} == set(before)
    assert 0 < found.outside_share < 1
    (entry,) = second.description()["sessions"]
    own = [repeat["cost"] for repeat in repeats] + [
        second.ledger.result(order.key)["cost"] for order in second.plan.run_specs if order.key not in before
    ]
    assert entry["busy_seconds"] == pytest.approx(
        sum(cost["training_seconds"] + cost["evaluation_seconds"] for cost in own)
    )
    assert finite(read_study("second").to_dict()) == finite(found.to_dict())  # MLflow gives the same


def test_different_scores_of_a_run_that_is_trained_again_are_reported(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_study(designs=["single"], tasks=["cause", "risk"])
    made = finish(path)
    key = made.plan.run_specs[0].key
    before = made.ledger.result(key)

    def drifting(order: Any, ledger: Ledger) -> Any:
        result, counts = train(order, ledger)
        if order.name == "cause, seed 0":
            result["test"]["cause"]["accuracy"] = 0.125
        return result, counts

    monkeypatch.setattr("mtl.study.running.train_run.train", drifting)
    capsys.readouterr()
    again = finish(path, "name=second", "designs=[sequential]")
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "Warning" in line]
    score = before["test"]["cause"]["accuracy"]
    assert "'cause, seed 0'" in warning
    assert f": cause/accuracy {score} -> 0.125." in warning
    assert again.ledger.result(key) == before


def test_a_changed_mixture_is_reported_and_its_old_results_are_kept_separate(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_study(designs=["single"])
    finish(path)
    old = set(trained())
    capsys.readouterr()
    changed = finish(path, "model.learning_rate=0.002")
    error = capsys.readouterr().err
    assert ": model.learning_rate: 0.001 -> 0.002." in error
    assert "6 finished runs" in error
    assert old < set(trained())
    assert len(trained()) == 12
    assert {cost.key for cost in changed.findings().costs} == set(trained()) - old


def test_a_change_is_reported_if_only_mlflow_has_the_earlier_runs(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    path = toy_study(designs=["single"], tasks=["cause"])
    old = {order.key for order in finish(path).plan.run_specs}
    shutil.rmtree("runs")
    capsys.readouterr()
    finish(path, "model.learning_rate=0.002")
    error = capsys.readouterr().err
    assert ": model.learning_rate: 0.001 -> 0.002." in error
    assert "2 finished runs" in error
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])

    def superseded() -> set[str]:
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return {run.data.tags["key"] for run in client.search_runs(ids, "tags.superseded = 'true'")}

    assert superseded() == old
    finish(path)
    assert len(superseded()) == 2
    assert superseded().isdisjoint(old)


def test_encoders_are_deleted_when_the_runs_that_start_from_them_are_done(toy_study: Callable[..., Path]) -> None:
    path = toy_study(designs=["sequential"], tasks=["cause", "risk"])
    made, kept = session(path), []
    work = worker.Work(made.plan.run_specs, made.ledger, "one", "toy")
    worker.train_all(work, finished=lambda order: kept.append(len(list(Path("runs/ledger").glob("*/*/encoder.pt")))))
    assert kept == 2 * [1, 2, 1, 0]  # for each seed two that are started from, and two that start from them
    times = trained()
    finish(path)
    assert trained() == times


def test_a_damaged_result_is_trained_again_and_gives_the_same_matrix(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_study(designs=["sequential"], tasks=["cause", "risk"])
    first, times = matrix(finish(path)), trained()
    torn = next(ROOT.glob("ledger/*/*/counts.npz"))
    torn.write_bytes(torn.read_bytes()[:100])
    made = session(path)
    with pytest.raises(InputError):
        made.findings()
    shutil.rmtree("mlruns", ignore_errors=True)
    assert matrix(finish(path)) == first
    assert str(torn) in capsys.readouterr().err
    assert [key for key, when in trained().items() if when != times[key]] == [torn.parent.name]


def test_a_worker_whose_disk_is_full_stops_and_says_so(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, begun = session(toy_study(designs=["sequential"], tasks=["cause", "risk"])), []

    def train_nothing(run_spec: Any, ledger: Any) -> Any:
        begun.append(run_spec.key)
        return {"cost": {}}, {}

    def fail(*_: Any) -> None:
        raise InputError(Problem("counts.npz", "cannot be written: No space left on device."))

    monkeypatch.setattr("mtl.study.running.train_run.train", train_nothing)
    monkeypatch.setattr(made.ledger, "finish", fail)
    with pytest.raises(InputError):
        worker.train_all(worker.Work(made.plan.run_specs, made.ledger, "one", "toy"))
    assert len(begun) == 1
    failure = made.ledger.failure(begun[0])
    assert failure is not None
    assert failure["sessions"] == ["one"]


# The launcher `processes` gives it in `test_a_killed_driver_resumes_to_the_same_matrix`.
@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        "{name: ray, workers: 2}",
        pytest.param("{name: slurm, workers: 2, cluster: local, timeout_min: 10}", marks=pytest.mark.soak),
    ],
)
def test_every_launcher_gives_the_identical_matrix(
    toy_study: Callable[..., Path], tmp_path: Path, launcher: str
) -> None:
    name = launcher.partition(": ")[2].partition(",")[0]
    pytest.importorskip({"slurm": "submitit"}.get(name, name), reason=f"the extra {name} is not installed")
    path = toy_study(designs=["sequential"], tasks=["cause", "risk"], trainer={"threads": 2})
    local = finish(path, root=tmp_path / "local")
    other = finish(path, f"launcher={launcher}", root=tmp_path / name)
    assert matrix(other) == matrix(local)
    assert len(trained(tmp_path / name)) == 8
    sessions = [json.loads(file.read_text())["session"] for file in (tmp_path / name).glob("ledger/*/*/result.json")]
    assert len(set(sessions)) == 1  # trained by this launcher, not brought from anywhere
    assert set(sessions).isdisjoint(
        json.loads(file.read_text())["session"] for file in (tmp_path / "local").glob("ledger/*/*/result.json")
    )


@pytest.mark.usefixtures("trains")
def test_time_outside_training_and_evaluation_is_measured(toy_study: Callable[..., Path]) -> None:
    made = finish(toy_study(designs=["single"]))
    (entry,) = json.loads((made.folder / "sessions.json").read_text())["sessions"]
    assert 0 < entry["busy_seconds"] < entry["seconds"]
    assert made.findings().outside_share == pytest.approx(1 - entry["busy_seconds"] / entry["seconds"])


def test_a_worker_ends_when_its_driver_was_killed(toy_study: Callable[..., Path]) -> None:
    asked = []

    def is_wanted() -> bool:
        asked.append(len(trained()))
        return len(asked) < 3

    made = session(toy_study())
    worker.train_all(worker.Work(made.plan.run_specs, made.ledger, "one", "toy"), is_wanted=is_wanted)
    assert asked == [0, 1, 2]


def _let_fail(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Training this run fails, and no other."""

    def fragile(order: Any, ledger: Ledger) -> Any:
        if order.name == name:
            raise MemoryError("no room")
        return train(order, ledger)

    monkeypatch.setattr("mtl.study.running.train_run.train", fragile)


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited for minutes in vain")

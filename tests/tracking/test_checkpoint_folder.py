import os
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl.files import replacing
from mtl.problems import InputError
from mtl.tracking.checkpoint_file import NOTE, damage, write_checkpoint
from mtl.tracking.checkpoint_folder import CheckpointFolder
from mtl.tracking.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "toy", 1)


def save(run: RunFolder, kind: str, step: int, scores: dict[str, float | None], keep: int | None = None) -> Path:
    """Saves a checkpoint as the callbacks do."""
    path = run.saved.file(kind, step)
    path.parent.mkdir(exist_ok=True)
    content = {"step": step, "weights": torch.full((500,), float(step)), NOTE: {"scores": scores}}
    write_checkpoint(path, partial(torch.save, content))
    run.saved.point(path, scores)
    run.saved.prune(newest=path if kind == "last" else None, keep=keep or 2)
    return path


def last(run: RunFolder, step: int, keep: int = 2) -> Path:
    return save(run, "last", step, {"last": None}, keep)


def names(run: RunFolder) -> set[str]:
    return {path.name for path in run.checkpoints.iterdir()}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content, rng = bytearray(path.read_bytes()), random.Random(1)
    for _ in range(64):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


DAMAGES = [truncate, empty, flip, Path.unlink]


@pytest.mark.parametrize("do_damage", DAMAGES)
def test_a_damaged_last_is_named_and_the_previous_one_is_used(
    do_damage: Callable[[Path], None], run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    previous, newest = last(run, 4), last(run, 8)
    assert run.resolve_checkpoint("last") == newest
    assert capsys.readouterr().err == ""
    do_damage(newest)
    assert run.resolve_checkpoint("last") == previous
    error = capsys.readouterr().err
    assert str(newest) in error
    assert previous.name in error
    do_damage(previous)
    with pytest.raises(InputError) as caught:
        run.resolve_checkpoint("last")
    assert {problem.key for problem in caught.value.problems} <= {str(newest), str(previous)}


@pytest.mark.parametrize("do_damage", DAMAGES)
def test_a_damaged_best_is_an_error_that_says_what_can_be_used(
    do_damage: Callable[[Path], None], run: RunFolder
) -> None:
    mixture = save(run, "best", 4, {"best": 0.5, "best:a": 0.6, "best:b": 0.2})
    save(run, "best", 8, {"best:b": 0.3})
    last(run, 9)
    do_damage(mixture)
    for name in ("best", "best:a"):
        with pytest.raises(InputError) as caught:
            run.resolve_checkpoint(name)
        (problem,) = caught.value.problems
        assert problem.key == str(mixture)
        assert f"'{name}'" in problem.message
        assert problem.suggestion.endswith(": best:b, last.")
    assert run.resolve_checkpoint("best:b").name == "best-step8.ckpt"


@pytest.mark.parametrize("do_damage", [truncate, empty, flip])
def test_a_damaged_file_is_an_error_by_its_path_too(do_damage: Callable[[Path], None], run: RunFolder) -> None:
    path = last(run, 4)
    do_damage(path)
    with pytest.raises(InputError) as caught:
        run.resolve_checkpoint(path)
    assert [problem.key for problem in caught.value.problems] == [str(path)]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_states_are_kept_and_the_best_ones_that_have_a_name(keep: int, run: RunFolder) -> None:
    (run.path / "checkpoints").mkdir()
    (run.checkpoints / "mine.ckpt").write_text("a file of the user")
    for step in (2, 4, 6, 8):
        last(run, step, keep)
    save(run, "best", 2, {"best": 0.1, "best:a": 0.1, "best:b": 0.1})
    save(run, "best", 4, {"best": 0.2, "best:a": 0.2})
    save(run, "best", 6, {"best": 0.3})
    states = {f"last-step{step}.ckpt" for step in (8, 6, 4)[:keep]}
    assert names(run) == {"mine.ckpt", "best-step2.ckpt", "best-step4.ckpt", "best-step6.ckpt"} | states
    save(run, "best", 8, {"best:a": 0.4, "best:b": 0.4})
    assert names(run) == {"mine.ckpt", "best-step6.ckpt", "best-step8.ckpt"} | states


def test_a_run_that_resumed_from_an_older_state_drops_the_newer_ones(run: RunFolder) -> None:
    for step in (2, 8):
        last(run, step)
    empty(run.saved.file("last", 8))
    last(run, 5)
    assert names(run) == {"last-step2.ckpt", "last-step5.ckpt"}
    assert run.resolve_checkpoint("last").name == "last-step5.ckpt"


def test_names_of_earlier_versions_are_found_by_path(run: RunFolder) -> None:
    best = save(run, "best", 4, {"best": 0.5, "best:a": 0.5})
    newest = last(run, 4)
    assert run.resolve_checkpoint(run.checkpoints / "last.ckpt") == newest
    assert run.resolve_checkpoint("checkpoints/best-a.ckpt") == best


@pytest.mark.parametrize(
    "torn",
    [None, "", "{", '{"best": {"path": "check', "[]", "\0\0\0", '{"best": "best.ckpt"}', '{"best": {"score": 1}}'],
)
def test_lost_pointers_are_rebuilt_from_the_checkpoints_with_a_message(
    torn: str | None, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    save(run, "best", 2, {"best": 0.1, "best:a": 0.1, "best:b": 0.1})
    save(run, "best", 4, {"best": 0.2, "best:a": 0.2})
    last(run, 4)
    last(run, 6)
    before = run.saved.pointers()
    file = run.path / "checkpoints.json"
    file.unlink() if torn is None else file.write_text(torn)
    assert run.resolve_checkpoint("best:b").name == "best-step2.ckpt"
    assert str(file) in capsys.readouterr().err
    assert run.saved.pointers() == before
    assert capsys.readouterr().err == ""


# --- killed at any point ----------------------------------------------------------------------------------------------

CALLS = {"open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "close", "flush", "truncate", "seek"}
"""Functions whose calls change files, or may make buffered bytes reach them."""


def killed_before(number: int, work: Callable[[], Any]) -> bool:
    """Does the work in a process that ends without any clean-up right before this call; returns whether it did."""
    process = os.fork()
    if process == 0:
        left = number

        def watch(frame: object, event: str, function: Any) -> None:
            nonlocal left
            if event == "c_call" and function.__name__ in CALLS:
                left -= 1
                if left < 0:
                    os._exit(9)

        try:
            sys.setprofile(watch)
            work()
            sys.setprofile(None)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_wherever_a_process_is_killed_while_it_saves_there_is_a_valid_checkpoint(tmp_path: Path) -> None:
    def work(run: RunFolder) -> None:
        save(run, "best", 4, {"best": 0.2, "best:a": 0.2})
        last(run, 4)

    number, is_killed, steps = 0, True, []
    while is_killed:
        run = RunFolder.create(tmp_path / str(number), "toy", 1)
        save(run, "best", 2, {"best": 0.1, "best:a": 0.1, "best:b": 0.1})
        last(run, 1)
        last(run, 2)
        is_killed = killed_before(number, partial(work, run))
        number += 1

        run = RunFolder(run.path)
        found = run.resolve_checkpoint("last")
        steps.append(torch.load(found, weights_only=True)["step"])
        for name in ("best", "best:a", "best:b"):
            score = run.saved.pointers()[name]["score"]
            saved = torch.load(run.resolve_checkpoint(name), weights_only=True)
            assert saved[NOTE]["scores"][name] == score
        assert [path.name for path in run.checkpoints.glob("*.ckpt") if damage(path) is not None] == []
        run.repair()
        assert list(run.path.rglob(".*")) == []
        work(run)  # as after a resume from the checkpoint before
        last(run, 6)
        assert names(run) == {"best-step2.ckpt", "best-step4.ckpt", "last-step4.ckpt", "last-step6.ckpt"}
    assert number > 40
    assert steps == sorted(steps)
    assert set(steps) == {2, 4}


def test_a_file_of_a_killed_process_is_removed(run: RunFolder) -> None:
    path = last(run, 2)
    ended = replacing(path)
    ended.__enter__().write(b"a part")
    assert not ended.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert names(run) == {path.name}
    (run.checkpoints / ".last-step4.ckpt.12345-67890").write_bytes(b"a part")
    (run.path / ".run.json.12345-67890").write_bytes(b"{")
    (run.path / ".gitignore").write_text("*")
    run.repair()
    assert names(run) == {path.name}
    assert {file.name for file in run.path.glob(".*")} == {".gitignore"}


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.last() is None
    assert folder.pointers() == {}
    folder.prune()

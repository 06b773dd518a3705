"""Shared fixtures: a tiny tokenizer, tiny random encoders of seven families, and toy mixtures and studies."""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import settings

from tests.mlflow_server import Server
from tests.tiny_sizes import SIZES

# Without a deadline, because a busy machine must not fail a test. `make soak` loads the second one.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("quick")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

collect_ignore = ["readers/fuzz_with_atheris.py"]  # a program, which needs the extra `fuzz`

REPOSITORY = Path(__file__).parent.parent
FAMILIES = ("bert", "roberta", "deberta-v2", "electra", "distilbert", "modernbert", "eurobert")

_WORDS = [
    "the",
    "a",
    "of",
    "in",
    "and",
    "is",
    "was",
    "with",
    "by",
    "not",
    "no",
    "to",
    "for",
    "patient",
    "patients",
    "aspirin",
    "ibuprofen",
    "warfarin",
    "increases",
    "reduces",
    "inhibits",
    "induces",
    "risk",
    "bleeding",
    "fever",
    "headache",
    "nausea",
    "cancer",
    "gene",
    "protein",
    "cell",
    "drug",
    "disease",
    "treatment",
    "caused",
    "after",
    "cox",
    "2",
    "1",
    "3",
    "-",
    ",",
    ".",
    ";",
    ":",
    "(",
    ")",
    "@",
    "$",
    "#",
    "%",
    '"',
    "'",
    "?",
    "!",
    "/",
    "<",
    ">",
    "[",
    "]",
]


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs, unless the tests for them are asked for with `-m gpu`."""
    wanted = str(config.getoption("markexpr", ""))
    if "gpu" not in wanted.split() or "not gpu" in wanted:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public data sets that `MTL_DATA` names."""
    folder = os.environ.get("MTL_DATA", str(REPOSITORY.parent / "shared" / "data"))
    if not Path(folder).is_dir():
        pytest.skip("the public data sets are not available: MTL_DATA is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A lower-case WordPiece tokenizer (as for BERT) whose vocabulary has some words and all letters and digits."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *_WORDS,
        *letters,
        *(f"##{c}" for c in letters),
        "##s",
        "##ed",
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[[str], Path]:
    """A function that returns the folder of a tiny random encoder of a family, with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel

    made: dict[str, Path] = {}

    def make(family: str = "bert") -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            sizes = {**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
            if family == "distilbert":
                sizes |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
            if family == "electra":
                sizes |= {"embedding_size": 8}
            if family == "eurobert":
                sizes |= {"num_key_value_heads": 1, "mask_token_id": tokenizer.mask_token_id}
            if family == "modernbert":
                sizes |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
            with torch.random.fork_rng():
                torch.manual_seed(0)
                AutoModel.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow has already migrated; copying it is seconds faster than migrating one per test."""
    from mtl.tracking.mlflow_client import prepare_mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare_mlflow()
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{path}").get_experiment_by_name("none")
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of an empty store in `tmp_path`."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path)}"


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """The server that `mlflow ui` starts; tests use it through `server`."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder)
    with Server(folder) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A running MLflow server, which tests share and may kill; its store keeps the data of earlier tests."""
    shared_server.start()
    return shared_server


class Trained(NamedTuple):
    """The objects of a finished training in this process."""

    trainer: Any
    module: Any
    data: Any

    @property
    def weights(self) -> dict[str, Any]:
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}


@pytest.fixture
def toy_mixture(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """A function that writes a mixture of four small synthetic tasks into `tmp_path` and returns its file.

    `cause` classifies texts, `drugs` tags them and `risk` scores them; `bleed` reads the rows of `cause`, some of them
    without a label. The labels follow from the words.
    """
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    def write(family: str = "bert", **fields: Any) -> Path:
        sizes = {"train": (26, 15, 9), "dev": (9, 7, 5), "test": (8, 6, 4)}
        for split, counts in sizes.items():
            for (task, make), size in zip(_TOY_ROWS.items(), counts, strict=True):
                rng = random.Random(f"{task} {split}")
                rows = [{"id": f"{split}-{n}", **make(_sentence(rng), rng, n)} for n in range(size)]
                _write_lines(tmp_path / task / f"{split}.jsonl", rows)
                if task == "cause":
                    _write_lines(tmp_path / "bleed" / f"{split}.jsonl", [_bleed(row, n) for n, row in enumerate(rows)])
        tasks: dict[str, Any] = {
            "cause": {"head": "classification", "labels": ["no", "yes"]},
            "drugs": {"head": "token_classification", "labels": ["Chemical"]},
            "risk": {"head": "regression", "options": {"range": [0, 4]}},
            "bleed": {"head": "classification", "labels": ["no", "yes"], "same_rows_as": "cause"},
        }
        for name, task in tasks.items():
            task["data"] = {"reader": "jsonl", "path": str(tmp_path / name)}
        encoder = {"name": str(tiny_encoder(family)), "max_length": 48}
        mixture = {"name": "toy", "encoder": encoder, "batch_size": 4, "seed": 1, "tasks": tasks, **fields}
        path = tmp_path / "toy.yaml"
        path.write_text(yaml.safe_dump(mixture, sort_keys=False), encoding="utf-8")
        return path

    return write


STUDY = {
    "name": "toy_study",
    "mixture": "toy.yaml",
    "tasks": ["cause", "drugs", "risk"],
    "continued": False,  # to save time; its tests switch it on
    "seeds": 2,
    "budget": {"updates": 4, "evaluations": 2},
    "model": {"learning_rate": 1e-3},
}


@pytest.fixture
def toy_study(
    toy_mixture: Callable[..., Path], store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Path]]:
    """A function that writes a study into `tmp_path`, which becomes the working folder, and returns its file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def write(**fields: Any) -> Path:
        toy_mixture()
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **fields}), encoding="utf-8")
        return path

    gc.freeze()  # a collection follows each run, and need not look at a million objects of imported modules
    yield write
    gc.unfreeze()


@pytest.fixture
def trained_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains each run of a study once for all tests of all workers, in place of once per test.

    Equal keys promise equal results. Everything else of a study is real: ledger, claims, encoders, MLflow.
    """
    from mtl.data.store import content_key
    from mtl.study.running import train_run
    from mtl.study.running.ledger import Counts, Ledger

    base = tmp_path_factory.getbasetemp()
    known = Ledger((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained_once")
    actual = train_run.train

    def copy_encoder(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}")
        shutil.copy(source, part)
        part.replace(target)

    def train(order: Any, ledger: Ledger) -> tuple[dict[str, Any], Counts]:
        # A probe of a plan's times has the key of its run, and other steps.
        key = content_key(order.key, order.evaluations, order.mixture["sampler"])
        if known.is_finished(key, with_encoder=order.keeps_encoder):
            if order.keeps_encoder:
                copy_encoder(known.encoder(key), ledger.encoder(order.key))
            result = known.result(key)
            assert result is not None
            return {**result, **order.labels()}, known.counts(key)
        result, counts = actual(order, ledger)
        if order.keeps_encoder:
            copy_encoder(ledger.encoder(order.key), known.encoder(key))
        known.finish(key, result, counts)
        return result, counts

    monkeypatch.setattr(train_run, "train", train)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that writes modules of a user package `lab` and makes it import again; None removes a module."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # bytecode would hide an edit of the same size in the same second

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def write(**modules: str | None) -> None:
        for name, source in modules.items():
            path = tmp_path / "lab" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            if source is None:
                path.unlink()
            else:
                path.write_text(textwrap.dedent(source), encoding="utf-8")
        forget()

    write(__init__="")
    yield write
    forget()


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trained]:
    """A function that trains a mixture in this process, by default in fp32 on the CPU and without writing files."""

    def run(
        mixture: Any,
        *,
        model: Mapping[str, Any] | None = None,
        ckpt_path: Path | None = None,
        before: Callable[[Any, Any], None] = lambda module, data: None,
        **trainer: Any,
    ) -> Trained:
        import pytorch_lightning as pl

        from mtl.training.assembly import build_data, build_module

        module = build_module(mixture, **{"learning_rate": 1e-3, **(model or {})})
        data = build_data(mixture)
        before(module, data)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        fixed = {"accelerator": "cpu", "precision": "32-true", "num_sanity_val_steps": 0, "log_every_n_steps": 1}
        root = {"default_root_dir": tmp_path, "max_epochs": 1}
        runner = pl.Trainer(**{**quiet, **fixed, **root, **trainer})
        runner.fit(module, datamodule=data, ckpt_path=None if ckpt_path is None else str(ckpt_path))
        return Trained(runner, module, data)

    return run


def _sentence(rng: random.Random) -> list[str]:
    return rng.choices(_WORDS[:34], k=rng.randint(3, 14))


def _classified(words: list[str], rng: random.Random, number: int) -> dict[str, Any]:
    words = [*words, rng.choice(["cancer", "fever"])]
    return {"text": " ".join(words), "label": "yes" if "cancer" in words else "no"}


def _tagged(words: list[str], rng: random.Random, number: int) -> dict[str, Any]:
    words = [*words, "aspirin"]
    starts = [len(" ".join(words[:n])) + bool(n) for n in range(len(words))]
    drugs = [(start, word) for start, word in zip(starts, words, strict=True) if word in _WORDS[15:18]]
    entities = [
        {"id": f"T{n}", "type": "Chemical", "spans": [[start, start + len(word)]]}
        for n, (start, word) in enumerate(drugs)
    ]
    return {"text": " ".join(words), "document": f"d{number // 2}", "entities": entities}


def _scored(words: list[str], rng: random.Random, number: int) -> dict[str, Any]:
    value = rng.randint(0, 4)
    return {"text": " ".join([*words, *["risk"] * value]), "label": float(value)}


def _bleed(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    label = None if number % 3 == 1 else "yes" if "bleeding" in row["text"] else "no"
    return {**row, "label": label}


_TOY_ROWS: dict[str, Callable[..., dict[str, Any]]] = {"cause": _classified, "drugs": _tagged, "risk": _scored}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

"""The data of the contestants: five tasks of limited size, and synthetic tasks for the scaling measurements.

Everything is written to a work folder as rows in JSON lines with a mixture file next to them, and encoded once, so that
no contestant is timed while texts are read.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from heads import Row
from heads.rows import row_to_dict
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.data.examples import SplitData
from mtl.encoder.location import encoder_folder
from mtl.seeding import stream
from mtl.training.assembly import build_data

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXPERIMENTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setting:
    """The settings that all rounds of a benchmark share.

    Args:
        data: `public` (five public tasks under MTL_DATA) or `synthetic` (the corpus of experiments/demo).
        examples: Maximum number of training examples per task, rounded up to whole documents.
        max_length: Maximum length in tokens.
        batch_size: Examples of an update.
        updates: Number of timed updates.
        warmup: Updates before the window.
        threads: Threads of each contestant's process.
        encoder: Name of the encoder.
        precision: Precision of ours with its defaults, of the bare loop, and of the others at their best.
    """

    data: str
    examples: int = 1500
    max_length: int = 128
    batch_size: int = 32
    updates: int = 40
    warmup: int = 10
    threads: int = 2
    encoder: str = "minilm-l6"
    precision: str = "32-true"


# Sentences as the authors of the corpora split them, which other trainers can read as well; the task files of
# experiments/tasks read the same corpora as abstracts, in windows.
SENTENCES = {
    "bc5cdr_chemical": ("bc5cdr_chem", "Chemical"),
    "ncbi_disease": ("ncbi_disease", "Disease"),
}
# ehr_rel and not biosses for similarity: of 64 pairs there would be two updates in two hundred.
FILES = ("gad", "rqe", "ehr_rel")
# Some short sentences, such as headings, are in both corpora. They stay: all contestants train the same rows, and no
# score is compared with one from elsewhere.
LEAKAGE = {"documents": "warn"}


def prepare(setting: Setting, folder: Path, dev_rows: int = 32) -> Path:
    """The mixture file that all contestants train, with its rows next to it and its encoded examples in the cache.

    Args:
        setting: Settings of the benchmark.
        folder: Folder for the rows.
        dev_rows: Maximum number of dev rows per task; dev must not be empty, although the contestants do not score it.
    """
    whole = whole_mixture(setting)
    data = build_data(whole)
    data.setup()
    tasks = {}
    for name, spec in whole.tasks.items():
        splits = data.tasks[name]
        kept = draw_documents(splits["train"], setting.examples, name)
        rows_of = {
            "train": (row for row in splits["train"].rows if row.document in kept),
            "dev": (row for _, row in zip(range(dev_rows), splits["dev"].rows, strict=False)),
        }
        for split, rows in rows_of.items():
            write_rows(folder / "rows" / name / f"{split}.jsonl", rows)
        data_spec = {"reader": "jsonl", "path": str((folder / "rows" / name).resolve())}
        tasks[name] = {**spec.model_dump(mode="json"), "data": data_spec, "max_length": None, "batch_size": None}
    write_encoder(setting, data.tokenizer, folder / "encoder")
    return write_mixture(folder / "mixture.yaml", setting, tasks)


def prepare_ner(setting: Setting, folder: Path) -> Path:
    """The mixture file of the NER tasks alone, with the same rows."""
    tasks = yaml.safe_load(prepare(setting, folder).read_text(encoding="utf-8"))["tasks"]
    ner = {name: task for name, task in tasks.items() if task["head"] == "token_classification"}
    return write_mixture(folder / "ner.yaml", setting, ner)


def write_encoder(setting: Setting, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The encoder for the other frameworks: as it is, with rows for the tokens that our heads added."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(encoder_folder(setting.encoder), trust_remote_code=False)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def whole_mixture(setting: Setting) -> Mixture:
    """The five tasks with all their rows."""
    fields: dict[str, Any] = {"encoder": {"name": setting.encoder, "max_length": setting.max_length}}
    if setting.data == "synthetic":
        fields["include"] = [str(EXPERIMENTS / "mixtures" / "demo.yaml")]
        fields["encoder"]["freeze_embeddings"] = None  # other frameworks train all weights, and read pairs as one text
        fields["tasks"] = {"similarity": {"rate": None, "options": {"pair": "together", "pooling": "cls"}}}
        return load_mixture({"name": "bench", **fields})
    fields["include"] = [str(EXPERIMENTS / "tasks" / f"{name}.yaml") for name in FILES]
    fields["leakage"] = LEAKAGE
    fields["tasks"] = {
        name: {
            "head": "token_classification",
            "labels": [label],
            "data": {
                "reader": "conll",
                "path": f"${{oc.env:MTL_DATA,data}}/{place}",
                "files": {"train": "train.tsv", "dev": "devel.tsv"},
            },
        }
        for name, (place, label) in SENTENCES.items()
    }
    return load_mixture({"name": "bench", **fields})


def draw_documents(split: SplitData, examples: int, task: str) -> set[str]:
    """Documents, drawn in an order of the task's own, until they hold so many examples."""
    names, counts = np.unique(split.rows.documents()[split.example_rows], return_counts=True)
    order = stream(0, "bench", task).permutation(len(names))
    before = np.cumsum(counts[order]) - counts[order]
    return {str(name) for name in names[order][before < examples]}


def prepare_tasks(setting: Setting, folder: Path, number: int) -> Path:
    """A mixture of so many tasks, which together always hold the same 2048 texts of the same length.

    So all batches have the same shape, and only the number of tasks differs.
    """
    total, words = 2048, 40
    tasks = {}
    for index in range(number):
        place = folder / f"tasks_{number}" / f"task{index}"
        rng = random.Random(index)
        for split, count in (("train", total // number), ("dev", 4)):
            rows = (
                {"id": f"{split}{n}", "text": " ".join(rng.choices(WORDS, k=words)), "label": rng.choice("ab")}
                for n in range(count)
            )
            write_lines(place / f"{split}.jsonl", rows)
        data = {"reader": "jsonl", "path": str(place.resolve())}
        tasks[f"task{index}"] = {"head": "classification", "labels": ["a", "b"], "data": data}
    return write_mixture(folder / f"tasks_{number}.yaml", setting, tasks)


def prepare_rows(setting: Setting, folder: Path, number: int) -> Path:
    """A mixture of one task with so many short rows on a tiny random encoder."""
    place = folder / f"rows_{number}"
    rng = random.Random(0)
    for split, count in (("train", number), ("dev", 4)):
        rows = (
            {"id": f"{split}{n}", "text": " ".join(rng.choices(WORDS, k=8)), "label": rng.choice("ab")}
            for n in range(count)
        )
        write_lines(place / f"{split}.jsonl", rows)
    data = {"reader": "jsonl", "path": str(place.resolve())}
    tasks = {"short": {"head": "classification", "labels": ["a", "b"], "data": data}}
    return write_mixture(folder / f"rows_{number}.yaml", setting, tasks, encoder=tiny_encoder(folder / "tiny"))


def tiny_encoder(folder: Path) -> str:
    """The folder of a random BERT of two narrow layers whose vocabulary is the synthetic words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}).save_pretrained(folder)
        BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=256, **sizes)).save_pretrained(folder)
    return str(folder.resolve())


# Each is one token in every vocabulary of BERT's, so that texts of as many words are of the same length.
WORDS = ("the", "patient", "with", "fever", "and", "pain", "after", "treatment", "risk", "of", "blood", "heart")


def write_mixture(path: Path, setting: Setting, tasks: dict[str, Any], *, encoder: str | None = None) -> Path:
    """Writes a mixture file and encodes its examples."""
    fields = {
        "name": path.stem,
        "encoder": {"name": encoder or setting.encoder, "max_length": setting.max_length},
        "batch_size": setting.batch_size,
        "leakage": LEAKAGE,
        "tasks": tasks,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    build_data(load_mixture(path)).setup()
    return path


def write_rows(path: Path, rows: Iterator[Row]) -> None:
    """Writes rows in the form that the reader `jsonl` reads."""
    write_lines(path, (row_to_dict(row) for row in rows))


def write_lines(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """Writes a line per record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


MAKERS: dict[str, Callable[..., Path]] = {
    "mixture": prepare,
    "ner": prepare_ner,
    "tasks": prepare_tasks,
    "rows": prepare_rows,
}


def main(arguments: Sequence[str]) -> None:
    """Writes and encodes one mixture: `mixture` or `ner`, or `tasks_8` or `rows_10000` with other numbers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name")
    parser.add_argument("--setting", type=json.loads, required=True, help="a `Setting` as JSON")
    parser.add_argument("--work", type=Path, required=True, help="a folder")
    options = parser.parse_args(arguments)
    kind, _, number = options.name.partition("_")
    MAKERS[kind](Setting(**options.setting), options.work, *([int(number)] if number else []))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Makes four small tasks with planted effects and an untrained encoder of a given width, for `planted.yaml`.

Usage: ``python experiments/studies/planted/make.py OUT [--width H] …`` writes ``OUT/corpus/<task>/<split>.jsonl`` and
``OUT/encoder``; the same arguments give the same bytes. The names and the facts about them come from the synthetic
corpus (`experiments/demo`). A drug has a class, which determines the system of the conditions that it treats and of
those that it causes, and a department, which is independent of the class. Instruments are unrelated to drugs. Each row
contains one name in an uninformative sentence, so the label depends on the name alone. Each name is one entry of the
vocabulary, so everything that is learned about it has to fit into one vector of `width` numbers.

Planted effects between the tasks:

- **related**: treats and causes. Both map names to the same classes under different labels, which separate heads
  absorb. Each trains on names that are missing from the other's training rows, a third of all names; dev and test
  contain all names.
- **competing**: departments with treats, and departments with causes. Departments are an independent map of the same
  names. A normalisation before the encoder's first layer turns a name of width H into a point on a sphere of H - 2
  dimensions. For H = 3 this is a circle: four classes are four arcs, but four classes by four departments are sixteen
  arcs, which no linear head can join.
- **unrelated**: instruments with each other task. Instruments have other names, so other vectors.

The vectors of all words start at zero. A name that no task has trained on cannot be distinguished from other such
names, and a guess about it is right for a quarter of the names, whatever the partner, because classes and departments
are exactly balanced.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parents[2] / "demo" / "corpus.py"

RELATED = (("treats", "causes"),)
COMPETING = (("departments", "treats"), ("departments", "causes"))
UNRELATED = (("instruments", "treats"), ("instruments", "causes"), ("instruments", "departments"))

LABELS = {
    "treats": ("nerve", "bone", "blood", "lung"),
    "causes": ("nerve", "bone", "blood", "lung"),
    "departments": ("heart", "kidney", "skin", "sleep"),
    "instruments": ("ward", "theatre", "office", "laboratory"),
}
POOLS = {
    "treats": ("common", "adverse_events"),
    "causes": ("common", "relations"),
    "departments": ("common", "adverse_events", "relations"),
    "instruments": ("common", "adverse_events", "relations"),
}
"""The pools of names in the lexicon that each task trains on; dev and test contain all three pools."""

OPENINGS = ("", "at the visit, ", "in this case, ", "as reported, ")
VERBS = ("is on record", "is listed", "was noted", "was named")
SHARES = {"train": 0.5, "dev": 0.25, "test": 0.25}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Size:
    """Size and seed of the corpus and the encoder.

    Args:
        names: Number of names in each of the three pools; a multiple of 16 keeps class and department exactly balanced.
        width: Width H of the word vectors and the hidden states.
        inner: Number of units between the two linear maps of the encoder's one layer.
        seed: Seed of the corpus and of the encoder's weights.
    """

    names: int = 16
    width: int = 3
    inner: int = 16
    seed: int = 1


def make(folder: Path, size: Size) -> None:
    """Writes the corpus and the encoder."""
    for task, splits in corpus(size).items():
        (folder / "corpus" / task).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "corpus" / task / f"{split}.jsonl").write_text(text, encoding="utf-8", newline="\n")
    _write_encoder(folder / "encoder", size)


def planted() -> dict[tuple[str, str], str]:
    """The planted effect for each (target, partner): helps, hurts or nothing."""
    signs = {"helps": RELATED, "hurts": COMPETING, "nothing": UNRELATED}
    return {pair: sign for sign, pairs in signs.items() for a, b in pairs for pair in ((a, b), (b, a))}


def corpus(size: Size) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The rows of every task and split, in the format of the jsonl reader."""
    demo = load_demo()
    lexicon = demo.Lexicon(demo.Plan(seed=size.seed, names=size.names, syllables=2, marked=0.5))
    return {task: _splits(task, lexicon, size) for task in LABELS}


def load_demo() -> Any:
    """The module that generates the synthetic corpus; it is a script and not part of a package."""
    spec = importlib.util.spec_from_file_location("demo_corpus", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_corpus"] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


# --- rows -------------------------------------------------------------------------------------------------------------


def _splits(task: str, lexicon: Any, size: Size) -> dict[str, list[dict[str, Any]]]:
    """The rows of a task by split: each name in each sentence once, half in train, a quarter each in dev and test."""
    rng = random.Random(f"{size.seed}/{task}")
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SHARES}
    for pool in POOLS["departments"]:
        for name in (lexicon.instruments if task == "instruments" else lexicon.drugs)[pool]:
            for split, text in _assigned(name.name, size.seed):
                if split != "train" or pool in POOLS[task]:
                    splits[split].append({"text": text, "label": _label(task, name)})
    for split, rows in splits.items():
        rng.shuffle(rows)
        splits[split] = [_numbered(row, f"invented-{task}-{split}-{n:05d}") for n, row in enumerate(rows, 1)]
    return splits


def _assigned(name: str, seed: int) -> Iterator[tuple[str, str]]:
    """The sentences of a name, each with its split.

    The assignment is the same for all tasks, so no training sentence of one task is in dev or test of another.
    """
    texts = [f"{opening}{name} {verb}." for opening, verb in product(OPENINGS, VERBS)]
    random.Random(f"{seed}/{name}").shuffle(texts)
    splits = [split for split, share in SHARES.items() for _ in range(int(share * len(texts)))]
    return zip(splits, texts, strict=True)


def _label(task: str, name: Any) -> str:
    number = {"treats": name.group, "causes": name.group + 1, "departments": name.department, "instruments": name.group}
    return LABELS[task][number[task] % len(LABELS[task])]


def _numbered(row: dict[str, Any], number: str) -> dict[str, Any]:
    return {"id": number, "document": number, **row, "meta": {"source": "invented"}}


# --- encoder ----------------------------------------------------------------------------------------------------------


def _write_encoder(folder: Path, size: Size) -> None:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    words = [*SPECIAL, *_words(size)]
    BertTokenizer(vocab={word: n for n, word in enumerate(words)}, do_lower_case=True).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=size.width,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=size.inner,
        max_position_embeddings=32,
        initializer_range=0.2,  # the usual 0.02 suits widths of hundreds
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(size.seed)
        model = BertModel(config)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.zero_()
    model.save_pretrained(folder)


def _words(size: Size) -> Sequence[str]:
    rows = (row for splits in corpus(size).values() for found in splits.values() for row in found)
    return sorted({word for row in rows for word in re.findall(r"\w+|[^\w\s]", row["text"])})


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description="Writes the planted corpus and its encoder.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    for field in fields(Size):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    arguments = vars(parser.parse_args())
    make(arguments.pop("out"), Size(**arguments))


if __name__ == "__main__":
    main()

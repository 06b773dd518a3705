"""Four small tasks with planted relatedness and an untrained encoder of a stated width: what `planted.yaml` studies.

Usage: ``python experiments/studies/planted/make.py OUT [--width H] …`` writes ``OUT/corpus/<task>/<split>.jsonl`` and
``OUT/encoder``; the same arguments give the same bytes. The names, and what there is to know about them, are those of
the invented corpus (`experiments/demo`): a drug has a class, which decides the system of conditions that it treats
and the one that it causes, and a department, which is independent of the class; instruments are something else. Every
row holds one name in a sentence that tells nothing, so that the label is knowledge about the name, and every name is
one entry of the vocabulary, so that this knowledge has to fit into one vector of `width` numbers.

Planted between the tasks:

- **related**: treats and causes. One map of names to classes, under other labels, which separate heads absorb. Each
  trains on names that the other one lacks, a third of all; dev and test ask for all names.
- **competing**: departments with treats and with causes. An independent map of the same names. Before the encoder's
  first layer a normalisation leaves a name of width H a point on a sphere of H - 2 dimensions: for H = 3 a circle, on
  which four classes are four arcs, but four classes by four departments are sixteen, which no linear head joins.
- **unrelated**: instruments with each other task. Other names, so other vectors.

The vectors of all words start as zero: a name that no task has trained is told from no other, and a guess about it is
right for a quarter of the names whatever the company, since classes and departments are exactly balanced.
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
"""The lexicon's pools of names that a task trains on; dev and test have all three."""

OPENINGS = ("", "at the visit, ", "in this case, ", "as reported, ")
VERBS = ("is on record", "is listed", "was noted", "was named")
SHARES = {"train": 0.5, "dev": 0.25, "test": 0.25}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Size:
    """Of the corpus and of the encoder.

    Args:
        names: Of each of the three pools; a multiple of 16 keeps class and department exactly balanced.
        width: H, of the vector of a word and of every state.
        inner: Units between the two linear maps of the encoder's one layer.
        seed: Of the corpus and of the encoder's weights.
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
    """What is planted for each (target, partner): helps, hurts or nothing."""
    signs = {"helps": RELATED, "hurts": COMPETING, "nothing": UNRELATED}
    return {pair: sign for sign, pairs in signs.items() for a, b in pairs for pair in ((a, b), (b, a))}


def corpus(size: Size) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The rows of every task and split, in the form that the jsonl reader reads."""
    demo = load_demo()
    lexicon = demo.Lexicon(demo.Plan(seed=size.seed, names=size.names))
    return {task: _splits(task, lexicon, size) for task in LABELS}


def load_demo() -> Any:
    """The module that makes the invented corpus; it is a script and no package."""
    spec = importlib.util.spec_from_file_location("demo_corpus", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo_corpus"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# --- rows -------------------------------------------------------------------------------------------------------------


def _splits(task: str, lexicon: Any, size: Size) -> dict[str, list[dict[str, Any]]]:
    """Every name in every sentence once: half of a name's sentences are train, a quarter dev, a quarter test."""
    rng = random.Random(f"{size.seed}/{task}")
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SHARES}
    for pool in POOLS["departments"]:
        for name in (lexicon.instruments if task == "instruments" else lexicon.drugs)[pool]:
            for split, text in _dealt(name.name, size.seed):
                if split != "train" or pool in POOLS[task]:
                    splits[split].append({"text": text, "label": _label(task, name)})
    for split, rows in splits.items():
        rng.shuffle(rows)
        splits[split] = [_numbered(row, f"invented-{task}-{split}-{n:05d}") for n, row in enumerate(rows, 1)]
    return splits


def _dealt(name: str, seed: int) -> Iterator[tuple[str, str]]:
    """Alike for all tasks, so that no sentence trains one and is in dev or test of another."""
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
        initializer_range=0.2,  # 0.02 is for widths of hundreds
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

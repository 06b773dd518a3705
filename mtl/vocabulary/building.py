"""From a vocabulary file to the folder of an encoder with the new vocabulary, and the report about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl.config import components
from mtl.config.mixture import EncoderSpec
from mtl.data.reading import read_rows
from mtl.data.store import RowTable, Store
from mtl.encoder.pretrained import load_config, load_tokenizer
from mtl.encoder.whole_model import WholeModel, load_whole_model
from mtl.files import whole_folder, write_json
from mtl.problems import InputError, Problem
from mtl.tracking.run_folder import PRIVATE
from mtl.vocabulary.exchange import Exchange, exchange_of
from mtl.vocabulary.fertility import Fertility, fertility
from mtl.vocabulary.initialisers import Initialiser, NewRows, Setting
from mtl.vocabulary.new_tokenizers import extended, require_extendable, trained
from mtl.vocabulary.occurrences import occurrences_of
from mtl.vocabulary.tables import replace_tables
from mtl.vocabulary.vocabulary_file import Action, InitialiserSpec, VocabularySpec
from mtl.vocabulary.word_choice import ListedWords, chosen, counted, listed

REPORT = "vocabulary.json"
"""File of the report in the folder."""


class Renewal(NamedTuple):
    """An encoder, its old tokenizer and the new one.

    Args:
        spec: The vocabulary file.
        model: The model with its old vocabulary.
        old: Its tokenizer.
        new: The new tokenizer.
        exchange: The new tokens, and the old rows that stay.
        corpus: Rows of the corpus.
        held_out: Rows of the held-out text; None if the data have no dev split.
        words: What became of a list of words; None without a list.
    """

    spec: VocabularySpec
    model: WholeModel
    old: Any
    new: Any
    exchange: Exchange
    corpus: RowTable
    held_out: RowTable | None
    words: ListedWords | None

    def setting(self, method: Initialiser) -> Setting:
        """What a method may use, with as many occurrences as it reads."""
        found = occurrences_of(
            self.exchange.ids,
            texts_of(self.corpus),
            self.new,
            most=method.num_snippets,
            length=method.snippet_length,
            seed=self.spec.seed,
        )
        spec = self.spec
        return Setting(self.model, self.old, self.new, self.exchange, found, spec.encoder.max_length, spec.seed)


def renewal_of(spec: VocabularySpec, action: Action) -> Renewal:
    """Reads the corpus and makes the new tokenizer.

    Raises:
        InputError: The corpus is missing or empty, the encoder cannot be loaded, its tokenizer has the wrong kind, or
            there is no word to add.
    """
    _require_no_causal(spec.base)
    old = load_tokenizer(spec.base)
    if action == "extend":
        require_extendable(old, spec.encoder.name)
    splits = {split: rows for split, (rows, _) in read_rows(spec.data, "data", Store()).items()}
    corpus = splits.get("train")
    if corpus is None or not any(text.strip() for text in texts_of(corpus)):
        message = "The split train must have at least one text, got none."
        raise InputError(Problem("data.path", message, "Check the path and `split`."))
    words = None
    if action == "train":
        new = trained(old, lambda: texts_of(corpus), spec.size or len(old))
    else:
        words, added = _words(spec, old, corpus)
        new = extended(old, added)
    model = load_whole_model(spec.base)
    if torch.cuda.is_available():
        model.model.to("cuda")
    exchange = exchange_of(old, new, len(model.inputs))
    return Renewal(spec, model, old, new, exchange, corpus, splits.get("dev"), words)


def _require_no_causal(spec: EncoderSpec) -> None:
    try:
        load_config(spec)
    except InputError as error:
        if "encoder.kind" not in {problem.key for problem in error.problems}:
            raise
        message = f"'{spec.name}' is a causal language model, whose vocabulary cannot be changed."
        raise InputError(Problem("encoder.name", message, "Name an encoder whose tokens see each other.")) from error


def _words(spec: VocabularySpec, tokenizer: Any, corpus: RowTable) -> tuple[ListedWords | None, list[str]]:
    """What became of the list of words, if there is one, and the words to add."""
    add = spec.add
    if add.words is not None:
        found = listed(Path(add.words), tokenizer, add.max)
        if not found.added:
            message = f"No word can be added: {len(found.known)} are already one token, {len(found.unwritable)} are"
            message += " no single word for the tokenizer."
            raise InputError(Problem("add.words", message))
        return found, found.added
    counts = counted(((row.document, row.text) for row in corpus), tokenizer)
    words = chosen(counts, tokenizer, add.max, min_pieces=add.min_pieces, min_documents=add.min_documents)
    if not words:
        message = f"No word has at least {add.min_pieces} tokens and is in at least {add.min_documents} documents."
        raise InputError(Problem("add", message, "Lower min_documents or min_pieces, or use a larger corpus."))
    return None, words


def texts_of(rows: RowTable) -> Iterator[str]:
    """The texts of rows."""
    return (row.text for row in rows)


def initialiser_of(init: InitialiserSpec) -> Initialiser:
    """The method that `init` names, with its options.

    Raises:
        InputError: There is no such method, or it has no such option.
    """
    found: Initialiser = components.build(components.find("initialiser", init.method, "init.method"), **init.options)
    return found


def build(spec: VocabularySpec, action: Action, folder: Path) -> dict[str, Any]:
    """Writes the folder of an encoder with a new vocabulary; returns the report, which is in the folder too.

    Args:
        spec: The vocabulary file.
        action: Whether the tokenizer is trained from scratch or extended.
        folder: The folder, which must not exist. It is complete or absent.

    Raises:
        InputError: The folder exists or cannot be written, or the input is invalid (see `renewal_of`).
    """
    if folder.exists():
        raise InputError(Problem("--to", f"'{folder}' must not exist yet.", "Choose another folder, or remove it."))
    method = initialiser_of(spec.init)
    renewal = renewal_of(spec, action)
    setting = renewal.setting(method)
    rows = method.rows(setting)
    report = _report(renewal, action, setting, rows)
    replace_tables(renewal.model, renewal.exchange, rows, renewal.old, renewal.new)
    _write(renewal, report, folder)
    return report


def _write(renewal: Renewal, report: dict[str, Any], folder: Path) -> None:
    if renewal.spec.data.private:  # the tokenizer has words of the corpus, and rows may be means over its texts
        setattr(renewal.model.model.config, PRIVATE, True)
    with whole_folder(folder) as part:
        renewal.model.save(part)
        renewal.new.save_pretrained(part)
        write_json(part / REPORT, report)


def _report(renewal: Renewal, action: Action, setting: Setting, rows: NewRows) -> dict[str, Any]:
    spec, exchange, words = renewal.spec, renewal.exchange, renewal.words
    held_out = renewal.held_out
    measured = {}
    if held_out is not None:
        for name, tokenizer in (("before", renewal.old), ("after", renewal.new)):
            measured[name] = _shown(fertility(texts_of(held_out), tokenizer))
    return {
        "action": action,
        "encoder": spec.encoder.model_dump(),
        "init": spec.init.model_dump(),
        "seed": spec.seed,
        "entries": {
            "before": len(renewal.old),
            "after": len(renewal.new),
            "new": len(exchange.tokens),
            "kept": len(renewal.new) - len(exchange.tokens),
        },
        "documents": len(set(renewal.corpus.documents().tolist())),
        "fertility": measured or None,
        "never_seen": [one.token for one in exchange.tokens if one.id not in setting.occurrences],
        "words": None if words is None else {"already_tokens": words.known, "not_words": words.unwritable},
        "masked_lm_head": renewal.model.has_masked_lm,
        "initialisation": dict(rows.report),
    }


def _shown(found: Fertility) -> dict[str, float | int]:
    return {**found._asdict(), "ratio": round(found.ratio, 4)}

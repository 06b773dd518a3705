from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from heads.masked_lm import MaskedLM
from heads.rows import TextRow
from mtl.problems import InputError
from mtl.vocabulary.building import build, renewal_of
from mtl.vocabulary.first_loss import chosen_methods, first_losses
from mtl.vocabulary.vocabulary_file import InitialiserSpec, load_vocabulary
from tests.vocabulary.corpora import DOCUMENTS, HELD_OUT, write_corpus, write_file

HELD_OUT_LONG = [" ".join(HELD_OUT)] * 6


def test_the_loss_is_that_of_the_written_folder(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", DOCUMENTS, HELD_OUT_LONG)
    path = write_file(tmp_path, mlm_folder(), add={"min_documents": 2}, init={"method": "context", "layer": 1})
    spec = load_vocabulary(path, [], "extend")
    methods = chosen_methods(["random", "context"], spec.init)
    found = {one.method: one for one in first_losses(renewal_of(spec, "extend"), methods)}
    assert list(found) == ["random", "context"]
    build(spec, "extend", tmp_path / "out")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    rows = [TextRow(str(number), str(number), text) for number, text in enumerate(HELD_OUT_LONG)]
    examples = MaskedLM([], 16).encode(rows, tokenizer, 64, training=False)
    losses, golds = [], []
    for one in examples:
        with torch.no_grad():
            logits = model(torch.tensor([one["input_ids"]])).logits[0, one["positions"]].log_softmax(-1)
        losses += [-float(row[gold]) for row, gold in zip(logits, one["gold"], strict=True)]
        golds += one["gold"]
    assert found["context"].loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    new = [loss for loss, gold in zip(losses, golds, strict=True) if gold >= 134]
    assert (found["context"].num_masked, found["context"].num_new) == (len(losses), len(new))
    if new:
        assert found["context"].new_loss == pytest.approx(sum(new) / len(new), rel=1e-5)
    assert found["random"].loss != found["context"].loss


def test_it_needs_a_head_and_held_out_text(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", DOCUMENTS, [])
    spec = load_vocabulary(write_file(tmp_path, tiny_encoder("bert"), add={"min_documents": 2}), [], "extend")
    with pytest.raises(InputError) as caught:
        first_losses(renewal_of(spec, "extend"), [spec.init])
    assert [problem.key for problem in caught.value.problems] == ["encoder.name", "data.split"]


def test_all_methods_can_be_asked_for_and_unknown_ones_are_reported() -> None:
    init = InitialiserSpec(method="context", layer=1)  # type: ignore[call-arg]  # an option of the method
    found = chosen_methods(["all"], init)
    assert {one.method for one in found} == {"random", "mean", "pieces_mean", "context", "distill"}
    assert init in found
    with pytest.raises(InputError) as caught:
        chosen_methods(["contxt", "men", "mean"], init)
    assert [problem.key for problem in caught.value.problems] == ["--compare"] * 2

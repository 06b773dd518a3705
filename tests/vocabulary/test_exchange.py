from __future__ import annotations

from typing import Any

import torch

from mtl.vocabulary.exchange import Exchange, NewToken, exchange_of
from mtl.vocabulary.new_tokenizers import extended


def test_an_extension_keeps_all_rows_in_their_places(tokenizer: Any) -> None:
    num = len(tokenizer)
    found = exchange_of(tokenizer, extended(tokenizer, ["coxa", "feverx"]), num)
    assert found.size == num + 2
    assert found.kept == {row: row for row in range(num)}
    pieces = [tokenizer.convert_ids_to_tokens(list(token.pieces)) for token in found.tokens]
    assert [(token.id, token.token) for token in found.tokens] == [(num, "coxa"), (num + 1, "feverx")]
    assert pieces == [["cox", "##a"], ["fever", "##x"]]


def test_new_tokens_take_rows_that_no_token_used_and_the_others_stay(tokenizer: Any) -> None:
    num = len(tokenizer)
    found = exchange_of(tokenizer, extended(tokenizer, ["coxa"]), num + 3)
    assert found.size == num + 3
    assert found.kept == {row: row for row in range(num + 3) if row != num}


def test_gradients_reach_only_new_rows() -> None:
    found = Exchange(4, {0: 1, 1: 0, 3: 2}, (NewToken(2, "x", ()),))
    old = torch.arange(6.0).view(3, 2).requires_grad_()
    rows = torch.tensor([[7.0, 8.0]], requires_grad=True)
    table = found.table(old, rows)
    assert table.tolist() == [[2.0, 3.0], [0.0, 1.0], [7.0, 8.0], [4.0, 5.0]]
    (table * torch.arange(8.0).view(4, 2)).sum().backward()
    assert rows.grad is not None
    assert rows.grad.tolist() == [[4.0, 5.0]]
    assert old.grad is None

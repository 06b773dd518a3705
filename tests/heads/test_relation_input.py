"""What the encoder reads of a candidate pair, and what the classifier reads of its states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from heads import Entity, Relation, SpanRow, TextRow
from heads.relation import RelationClassification
from tests.heads import properties as has
from tests.heads.pairs import OPTIONS, PAIRS, READY, ROWS, make, row, tokens_of


def test_a_placeholder_replaces_its_own_entity(tokenizer: Any) -> None:
    head = make(pairs=[("Chemical", "Gene")])
    (tokens,) = tokens_of(head, row("x", "cox-2 is not by aspirin"), tokenizer)
    assert tokens == ["[CLS]", "@GENE$", "is", "not", "by", "@CHEMICAL$", "[SEP]"]


def test_each_candidate_replaces_its_own_two_mentions(tokenizer: Any) -> None:
    first, second = tokens_of(make(), ROWS[0], tokenizer)
    assert " ".join(first) == "[CLS] @CHEMICAL$ reduces @DISEASE$ and headache . [SEP]"
    assert " ".join(second) == "[CLS] @CHEMICAL$ reduces fever and @DISEASE$ . [SEP]"


def test_a_candidate_is_read_in_its_sentence_only(tokenizer: Any) -> None:
    text = row("x", "no risk . aspirin reduces fever . not a gene", sentences=((0, 9), (10, 33), (34, 44)))
    assert " ".join(*tokens_of(make(), text, tokenizer)) == "[CLS] @CHEMICAL$ reduces @DISEASE$ . [SEP]"


def test_with_document_scope_the_whole_document_is_read(tokenizer: Any) -> None:
    text = row("x", "no aspirin . a fever", sentences=((0, 12), (13, 20)))
    assert " ".join(*tokens_of(make(scope="document"), text, tokenizer)) == "[CLS] no @CHEMICAL$ . a @DISEASE$ [SEP]"


def test_concepts_are_marked_at_all_their_mentions(tokenizer: Any) -> None:
    text = SpanRow(
        "x", "x", "aspirin , no drug but aspirin , for fever",
        entities=(
            Entity("1", "Chemical", ((0, 7),), ("D1",)),
            Entity("2", "Chemical", ((22, 29),), ("D1",)),
            Entity("3", "Disease", ((36, 41),), ("D2",)),
        ),
        relations=(Relation("D1", "D2", "treat"),),
    )  # fmt: skip
    head = make(scope="document", level="concept")
    assert head.check(text) is None
    (example,) = has.encode(head, [text], tokenizer)
    assert (example["head"], example["tail"], example["label"]) == ("D1", "D2", [1])
    (tokens,) = tokens_of(head, text, tokenizer)
    assert tokens.count("@CHEMICAL$") == 2
    assert [tokens[i] for i in example["head_tokens"]] == ["@CHEMICAL$"] * 2


def test_special_tokens_follow_from_the_options() -> None:
    assert make(pairs=[("drug", "gene")]).special_tokens() == ("@DRUG$", "@GENE$", "@DRUG-GENE$")
    assert make(entity_types=["a", "b"]).special_tokens() == (
        "@A$", "@B$", "@A-A$", "@A-B$", "@B-A$", "@B-B$",
    )  # fmt: skip
    assert make(input="markers").special_tokens() == ("[E1]", "[/E1]", "[E2]", "[/E2]")
    assert make(input="original", pooling="mention_max").special_tokens() == ()
    assert make(**READY).special_tokens() == ("@GENE$", "@DISEASE$")


def test_merged_types_share_a_placeholder(tokenizer: Any) -> None:
    head = make(pairs=[("Thing", "Disease")], merge_types={"Chemical": "Thing", "Gene": "Thing"})
    tokens = tokens_of(head, row("x", "aspirin and cox-2 in cancer"), tokenizer)
    assert [" ".join(line) for line in tokens] == [
        "[CLS] @THING$ and cox - 2 in @DISEASE$ [SEP]",
        "[CLS] aspirin and @THING$ in @DISEASE$ [SEP]",
    ]


def test_a_text_that_is_too_long_keeps_both_mentions_and_is_scored(tokenizer: Any) -> None:
    text = row("x", "aspirin" + " of the cell" * 40 + " fever", ("aspirin", "fever", "treat"))
    head = make()
    (example,) = has.encode(head, [text], tokenizer, training=False, max_length=10)
    (tokens,) = tokens_of(head, text, tokenizer, max_length=10)
    assert example["truncated"] is True
    assert len(tokens) == 10
    assert {"@CHEMICAL$", "@DISEASE$"} <= set(tokens)


def test_an_ablation_may_show_the_same_text_for_all_pairs(tokenizer: Any) -> None:
    head = make(input="original", allow_ambiguous=True)
    pairs = tokens_of(head, ROWS[0], tokenizer)
    assert len(pairs) > 1
    assert all(tokens == pairs[0] for tokens in pairs)


@pytest.mark.parametrize("name", ["typed", "markers", "original"])
@pytest.mark.parametrize("lower", [True, False])
def test_characters_that_a_tokenizer_drops_leave_markers_and_mentions(name: str, lower: bool, tokenizer: Any) -> None:
    from transformers import BertTokenizer

    own = tokenizer if lower else BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=False)
    head = make(**OPTIONS[name])
    expected = {"typed": [1, 1], "markers": [2, 2], "original": [0, 0]}[name]
    for character in "\u00ad\u200b\u200d\ufeff\x00\ue000\ufffd\u0301\u0941":
        text = f"{character}aspirin{character}, {character} fe{character}ver{character}."
        spans = [match.span() for match in re.finditer(r"[^ ,.]*(?:asp|fe)[^ ,.]*", text)]
        entities = tuple(
            Entity(f"T{i}", kind, (span,)) for i, (kind, span) in enumerate(zip(PAIRS[0], spans, strict=True))
        )
        [example] = has.encode(head, [SpanRow("1", "1", text, entities=entities)], own, training=False)
        assert all((example["head_tokens"], example["tail_tokens"])), repr(character)
        tokens = has.with_special_tokens(head, own).convert_ids_to_tokens(example["input_ids"])
        marks = [sum(mark in tokens for mark in marks) for marks in _MARKS_OF[name]]
        assert marks == expected, (repr(character), tokens)


_MARKS_OF: dict[str, list[tuple[str, ...]]] = {
    "typed": [("@CHEMICAL$",), ("@DISEASE$",)],
    "markers": [("[E1]", "[/E1]"), ("[E2]", "[/E2]")],
    "original": [(), ()],
}


# --- pooling ----------------------------------------------------------------------------------------------------------


def pooled(head: RelationClassification, fields: Mapping[str, Tensor], states: Tensor) -> Tensor:
    """The input of the classifier."""
    read: list[Tensor] = []
    hook = head.classifier.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    head(states, torch.ones(states.shape[:2]).bool(), fields)
    hook.remove()
    return read[0]


def test_each_pooling_reads_its_tokens(tokenizer: Any) -> None:
    text = row("x", "no aspirin in fever")  # [CLS] no [E1] aspirin [/E1] in [E2] fever [/E2] [SEP]
    states = torch.randn(1, 10, has.HIDDEN)
    expected = {
        "cls": states[0, 0],
        "entity_start": torch.cat([states[0, 2], states[0, 6]]),
        "mention_max": torch.cat([states[0, 3], states[0, 7]]),
    }
    for pooling, wanted in expected.items():
        head = make(input="markers", pooling=pooling)
        _, fields = has.collate(head, has.encode(head, [text], tokenizer))
        torch.testing.assert_close(pooled(head, fields, states)[0], wanted)


def test_mention_max_is_the_maximum_over_the_tokens_of_a_mention(tokenizer: Any) -> None:
    head = make(pairs=[("Gene", "Disease")], input="original", pooling="mention_max")
    examples = has.encode(head, [row("x", "cox-2 in fever")], tokenizer)  # [CLS] cox - 2 in fever [SEP]
    states = torch.randn(1, 7, has.HIDDEN)
    wanted = torch.cat([states[0, 1:4].amax(0), states[0, 5]])
    torch.testing.assert_close(pooled(head, head.collate(examples, 7), states)[0], wanted)


def test_a_mention_without_tokens_is_read_as_the_first_token(tokenizer: Any) -> None:
    head = make(**READY, pooling="mention_max")
    examples = has.encode(head, [TextRow("x", "x", "no risk of @GENE$", label="none"),
                                 TextRow("y", "y", "no risk", label="none")], tokenizer)  # fmt: skip
    states = torch.randn(2, 6, has.HIDDEN)
    read = pooled(head, head.collate(examples, 6), states)
    torch.testing.assert_close(read[0], torch.cat([states[0, 4]] * 2))
    torch.testing.assert_close(read[1], torch.cat([states[1, 0]] * 2))

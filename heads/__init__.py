"""Task types: how rows become examples, encoder states become logits, and predictions become scores.

Each task type is one public module with one subclass of `Head`. A mixture refers to it by the name of the module. To
add a task type, add a module; there is nothing to register. Modules whose name begins with `_` are shared by several
heads, as are `rows` and `scores`. The package imports nothing from `mtl`.

Shapes: B examples, S sequences, T tokens, H hidden size, C labels, N rows or documents, K counts.
"""

from heads._contract import (
    IGNORE,
    ClassReport,
    Decisions,
    Example,
    FrozenEncoder,
    LoadedEncoder,
    PooledInput,
    Prediction,
)
from heads._head import Head
from heads._tensors import pad, projection, sequence_lengths
from heads.rows import Entity, Relation, Row, Span, SpanRow, TextRow, WordProbabilities, row_from_dict, row_to_dict

__all__ = [
    "IGNORE",
    "ClassReport",
    "Decisions",
    "Entity",
    "Example",
    "FrozenEncoder",
    "Head",
    "LoadedEncoder",
    "PooledInput",
    "Prediction",
    "Relation",
    "Row",
    "Span",
    "SpanRow",
    "TextRow",
    "WordProbabilities",
    "pad",
    "projection",
    "row_from_dict",
    "row_to_dict",
    "sequence_lengths",
]

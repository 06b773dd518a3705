"""From the files of a task to encoded examples on disk, with a count of every row that is not used.

- `reading`: the rows of every split, from a reader, after split rules (`splits`), the rules of `weak_labels`, limits,
  `relabelling` and `permutation`.
- `examples`: `prepare` encodes rows with their heads; `SplitData` is one split of a task on disk.
- `store`: memory-mapped tables, cached by a hash of what determines their content.
- `leakage_gate`: what train shares with dev or test, and what happens then; `leakage` finds it, by `text_keys`.
- `overlapping_documents`: the documents of test that scores may leave out, because they overlap train.
- `row_problems`: the problems of rows that a head cannot use.
- `sentence_spans`: the sentences of a text that comes without any.

A bad row is handled in one of two places, and `data.on_bad_row` decides in both whether it is an error or skipped:

- While rows are read, the reader (`mtl.readers.Reader.bad`) decides whether the input is well-formed: it can be parsed,
  and ids, types and offsets follow the rules of the format. `reading` counts what it refused.
- While rows are encoded, the head (`heads.Head.check`) decides whether it can use a well-formed row: its label is
  known, its number is in range. Rows of train must also be fit to train on (`heads.Head.training_problem`).
  `row_problems` reports these as errors; with `skip`, `examples` refuses and counts them.

Next: `mtl.batching`, which chooses the examples of each step.
"""

__all__ = [
    "examples",
    "leakage_gate",
    "overlapping_documents",
    "permutation",
    "reading",
    "row_problems",
    "sentence_spans",
    "store",
]

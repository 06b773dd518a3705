"""From the files of a task to encoded examples on disk, with a count of every row that is not used.

- `reading`: the rows of every split, from a reader, after split rules (`splits`), limits and `permutation`.
- `examples`: `prepare` encodes rows with their heads; `SplitData` is one split of a task on disk.
- `store`: memory-mapped tables, cached by a hash of what determines their content.
- `leakage`: texts and documents that several splits or tasks share.
- `row_problems`: why a head rejects rows.

Next: `mtl.batching`, which chooses the examples of each step.
"""

__all__ = ["examples", "leakage", "permutation", "reading", "row_problems", "splits", "store"]

"""From the files of a task to encoded examples on disk, with every row accounted for.

- `reading`: rows of every split, through a reader, a split rule (`splits`), limits and `permutation`.
- `examples`: `prepare` encodes rows with their heads; `SplitData` is one split of a task on disk.
- `store`: memory-mapped tables under content keys.
- `leakage`: what splits and tasks share.
- `row_problems`: what is wrong with rows that a head cannot use.

Next: `mtl.batching`, which decides which examples each step trains.
"""

__all__ = ["examples", "leakage", "permutation", "reading", "row_problems", "splits", "store"]

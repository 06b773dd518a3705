"""Drafts a mixture from data files.

- `guess`: which reader fits a file, from its name and its first lines.
- `columns`: what the columns of a table hold.
- `draft`: reads all rows and writes the fields of the tasks that fit, with comments.
"""

__all__ = ["draft"]

DECIDES_RESULTS = False

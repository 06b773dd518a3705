"""Drafts a mixture from data files: which reader fits, what the columns hold, and which task the labels make.

`guess` looks at the form of a file, and `draft` reads it and writes the fields of its tasks with comments.
"""

__all__ = ["draft", "guess"]

DECIDES_RESULTS = False

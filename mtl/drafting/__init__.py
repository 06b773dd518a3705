"""Drafts a mixture from data files.

- `guess`: which reader fits a file or a folder, and its options.
- `encodings`: the encoding of text files.
- `columns`: what the columns of a table hold.
- `tags`: the tagging scheme of tagged words, and their comments.
- `documents`: which reader fits XML, JSON, and folders or archives of documents.
- `draft`: reads all rows and writes the fields of the tasks that fit, with comments.
"""

__all__ = ["draft"]

DECIDES_RESULTS = False

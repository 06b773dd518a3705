"""The documentation site. Its source is the whole repository, so that links also work where the files are read."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "generator"))

project = "biomtl"
author = "The biomtl authors"
copyright = "The biomtl authors"
version = release = metadata.version("biomtl")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
root_doc = "README"
include_patterns = [
    *("README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "SUPPORT.md", "CODE_OF_CONDUCT.md"),
    "docs/**.md",
    *("experiments/README.md", "experiments/demo/README.md", "experiments/studies/README.md"),
    *("experiments/bench/README.md", "experiments/results/*.md"),
    "notebooks/*.ipynb",
]
NOT_PAGES = ("docs/paper.md", "docs/navigation.md", "docs/_build")
exclude_patterns = [*NOT_PAGES, ".*", "runs", "mlruns", "build", "dist", "tests"]
templates_path = ["_templates"]

nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures, of libraries whose pages are elsewhere
linkcheck_anchors = False  # GitHub makes the anchors of its pages in the browser

myst_heading_anchors = 4
# Notebooks are kept without outputs. `make docs NOTEBOOKS=cache` runs those that have changed, which takes minutes.
nb_execution_mode = os.environ.get("NOTEBOOKS", "off")
nb_execution_timeout = 1800
nb_execution_raise_on_error = True

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "literal"  # a single backtick is code in our docstrings
smartquotes = False  # quotes in tables are around values

html_theme = "furo"
html_title = f"biomtl {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}
html_copy_source = False
html_show_sourcelink = False

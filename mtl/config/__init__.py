"""What a mixture file may say, and how it becomes a checked `Mixture`.

- `mixture`: the keys of a mixture file with their defaults.
- `loading`: `load_mixture`, from a file or a mapping to a `Mixture`; `yaml_files` reads and merges the YAML below it.
- `validation`: every problem of a mixture that shows before any data is read.
- `components`: from a name in YAML to a class of `heads`, `mtl.readers`, `mtl.samplers` or the user's own.
- `schema`: what pydantic has against a value, in words that need no Python.

Next: `mtl.readers`, which turns the files that a mixture names into rows.
"""

DECIDES_RESULTS = False

__all__ = ["components", "loading", "mixture", "schema", "validation", "yaml_files"]

"""The keys of a mixture file, and how a file becomes a validated `Mixture`.

- `mixture`: the keys of a mixture file and their defaults.
- `curriculum`: the mixture as it is from each step of a training on.
- `loading`: `load_mixture`, from a file or a mapping to a `Mixture`; `yaml_files` reads and merges the YAML.
- `yaml_text`: from the text of a YAML file to plain values, within limits; `interpolation`: resolves `${…}`.
- `config_file`: config files of Lightning's command line, and the mixture that they name.
- `validation`: finds every problem of a mixture that can be detected without reading data.
- `components`: from a name in YAML to a class of `heads`, `mtl.readers`, `mtl.samplers` or the user's own code.
- `encoder_catalogue`: the encoders that a mixture may name; `encoder_entry` is the form of one, `encoder_terms` its
  words, and `encoder_filters` selects some.
- `schema`: pydantic's errors as messages for people who write YAML.

Next: `mtl.readers`, which turns the files named by a mixture into rows.
"""

DECIDES_RESULTS = False

__all__ = [
    "components",
    "config_file",
    "curriculum",
    "encoder_catalogue",
    "encoder_entry",
    "encoder_filters",
    "encoder_terms",
    "loading",
    "mixture",
    "schema",
    "validation",
    "yaml_files",
]

"""Fuzzes one reader with coverage as the guide; needs the extra `fuzz`.

    PYTHONPATH=. python tests/readers/fuzz_with_atheris.py brat NEW_INPUTS tests/readers/corpus/brat -runs=1000000

The other arguments are libFuzzer's: inputs that reach new code are written to the first folder. An input that breaks
the property of `fuzzing.py` is written to the working folder; put it into the corpus when the reader is fixed.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["mtl.readers", "mtl.config.yaml_text", "mtl.config.interpolation"]):
    from tests.readers import fuzzing


def main() -> None:
    program, name, *others = sys.argv

    def one_input(data: bytes) -> None:
        fuzzing.run(name, data)

    atheris.Setup([program, *others], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

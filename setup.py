"""Adds the YAML and CSV files that commands read by name, which lie outside the packages, to what is built."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("encoders", "suites", "tasks")
"""Folders of `experiments`. A wheel has them below `mtl/experiments`, where `mtl.shipped` looks."""


class BuildPy(build_py):
    """Builds the packages, with the shipped files in `mtl`."""

    def run(self) -> None:
        """Copies the files into the package; an editable install reads them where they are."""
        super().run()
        if not self.editable_mode:
            for source, target in self._shipped().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        """The files of the packages and the shipped files, which a source distribution needs."""
        return [*super().get_source_files(), *self._shipped()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """All files that are built."""
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._shipped().values())]

    def _shipped(self) -> dict[str, str]:
        """Source and target of each shipped file."""
        folders = [Path("experiments", kind) for kind in SHIPPED]
        files = [file for folder in folders for file in sorted(folder.rglob("*.*")) if file.suffix in (".yaml", ".csv")]
        return {str(file): str(Path(self.build_lib, "mtl", file)) for file in files}


setup(cmdclass={"build_py": BuildPy})

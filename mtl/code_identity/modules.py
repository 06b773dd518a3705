"""Resolves names to the code behind them: a definition in one of our modules, or a library and its version.

Modules are found and read, never imported.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from mtl.code_identity import syntax
from mtl.code_identity.normalising import Reference
from mtl.code_identity.scopes import Import
from mtl.code_identity.syntax import ModuleSyntax

OUR_PACKAGES = ("mtl", "heads")
"""Packages that count by their code even if they are installed in site-packages."""

IMPLEMENTED_BY = {"transformers": ("tokenizers",)}
"""Distributions that affect the results of a library although our code never imports them."""


class Target(NamedTuple):
    """What a name refers to.

    Args:
        kind: A definition, a whole module, the statements of a module with side effects, a library, a name that is
            bound nowhere, or code that decides no result.
        module: Import path of the module; for a library its top-level name.
        name: Name of the definition; for a library the full dotted path.
    """

    kind: Literal["definition", "module", "statements", "library", "unknown", "nothing"]
    module: str = ""
    name: str = ""


NOTHING = Target("nothing")


class Use(NamedTuple):
    """A target, and the attributes that are read from it.

    >>> Modules().resolve("heads.regression", Reference(("nn", "Module"), (Import("torch", "nn", 0),)))
    {Use(target=Target(kind='library', module='torch', name='torch.nn.Module'), attributes=())}
    """

    target: Target
    attributes: tuple[str, ...] = ()


class Module(NamedTuple):
    """A module whose source can be read."""

    name: str
    is_package: bool
    syntax: ModuleSyntax


class Modules:
    """The modules of this process, read from their current files.

    Args:
        deciding: Modules that count even if they declare that they decide no result; None lets every module count.
    """

    def __init__(self, deciding: Iterable[str] | None = ()) -> None:
        self._deciding = None if deciding is None else frozenset(deciding)
        self._modules: dict[str, Module | None] = {}
        self._are_libraries: dict[str, bool] = {}
        self._side_effects: dict[str, set[Target]] = {}

    def get(self, name: str) -> Module | None:
        """A module by its import path; None if it does not exist or has no source."""
        if name not in self._modules:
            found = _file(name)
            self._modules[name] = None if found is None else _module(name, found)
        return self._modules[name]

    def resolve(self, module: str, reference: Reference) -> set[Use]:
        """What a reference in a module refers to; several targets if several imports bind the name."""
        if reference.imports:
            uses = [self._imported(module, found, reference.names[1:]) for found in reference.imports]
            return set().union(*uses)
        names = reference.names
        return self._member(module, names) or self._in_star_libraries(module, names) or {_outside(names)}

    def member(self, module: str, names: Sequence[str]) -> set[Use]:
        """What an attribute of a module refers to; the whole module if there are no names."""
        return self._attribute(module, tuple(names), frozenset())

    def members(self, name: str) -> dict[str, set[Use]]:
        """Everything that a module binds, by name; star imports and the `b` of ``import a.b`` are under ""."""
        module = self.get(name)
        assert module is not None, "only a module with source has members"
        imports = module.syntax.imports
        names = {*module.syntax.definitions, *module.syntax.statement_names, *filter(str.isidentifier, imports)}
        unnamed = [found for bound in imports.keys() - names for found in imports[bound]]
        brought = set().union(*(self._imported(name, found, ()) for found in unnamed))
        return {bound: self._member(name, (bound,)) for bound in names} | {"": brought}

    def side_effects(self, name: str) -> set[Target]:
        """The statements with side effects that run before a definition of this module can be used.

        They are in the module, in its parent packages, and in the modules that these import.
        """
        if name not in self._side_effects:
            modules = self._imported_with(name)
            found = {self._target("statements", module.name) for module in modules if module.syntax.statements}
            self._side_effects[name] = found - {NOTHING}
        return self._side_effects[name]

    def _imported_with(self, name: str) -> list[Module]:
        found: dict[str, Module] = {}
        waiting = [name]
        while waiting:
            module = self.get(waiting.pop())
            if module is None or module.name in found:
                continue
            found[module.name] = module
            waiting += _parents(module.name)
            for imported in (each for imports in module.syntax.imports.values() for each in imports):
                path = _absolute(module, imported)
                if not self._is_library(path):
                    waiting += [path, *([f"{path}.{imported.name}"] if imported.name else [])]
        return list(found.values())

    # --- resolving ----------------------------------------------------------------------------------------------------

    def _member(self, name: str, names: tuple[str, ...], seen: frozenset[tuple[str, str]] = frozenset()) -> set[Use]:
        """What a name that a module binds refers to; empty if the module does not bind it."""
        module = self.get(name)
        if module is None or (name, names[0]) in seen:
            return set()
        seen |= {(name, names[0])}
        found: set[Use] = set()
        if names[0] in module.syntax.definitions:
            found.add(self._use(self._target("definition", name, names[0]), names[1:]))
        if names[0] in module.syntax.statement_names:
            found.add(self._use(self._target("statements", name), names))
        for imported in module.syntax.imports.get(names[0], ()):
            found |= self._imported(name, imported, names[1:], seen)
        if not found:
            ours = [source for source in self._star_sources(module) if not self._is_library(source)]
            found = set().union(*(self._member(source, names, seen) for source in ours))
        return found

    def _star_sources(self, module: Module) -> list[str]:
        return [_absolute(module, imported) for imported in module.syntax.imports.get("*", ())]

    def _in_star_libraries(self, name: str, names: tuple[str, ...]) -> set[Use]:
        """What a name refers to that only a star import from a library can bind."""
        module = self.get(name)
        sources = [] if module is None or hasattr(builtins, names[0]) else self._star_sources(module)
        return {Use(_library(source, names)) for source in sources if self._is_library(source)}

    def _imported(
        self, module: str, imported: Import, names: tuple[str, ...], seen: frozenset[tuple[str, str]] = frozenset()
    ) -> set[Use]:
        source = self.get(module)
        assert source is not None, "only a module with source has imports"
        names = names if imported.name in (None, "*") else (str(imported.name), *names)
        return self._attribute(_absolute(source, imported), names, seen)

    def _attribute(self, module: str, names: tuple[str, ...], seen: frozenset[tuple[str, str]]) -> set[Use]:
        if self._is_library(module):
            return {Use(_library(module, names))}
        found = self._member(module, names, seen) if names else set()
        if not found and names and _exists(f"{module}.{names[0]}"):
            found = self._attribute(f"{module}.{names[0]}", names[1:], seen)
        if not found and names:
            found = self._in_star_libraries(module, names)
        if not found and self.get(module) is None:
            found = {Use(Target("unknown", name=".".join(names)))}
        return found or {self._use(self._target("module", module), names)}

    def _target(self, kind: Literal["definition", "module", "statements"], module: str, name: str = "") -> Target:
        return Target(kind, module, name) if self._decides_results(module) else NOTHING

    def _use(self, target: Target, attributes: tuple[str, ...]) -> Use:
        return Use(target) if target == NOTHING else Use(target, attributes)

    def _decides_results(self, module: str) -> bool:
        """The constant `DECIDES_RESULTS` of the module, else of the nearest parent package that has it."""
        if self._deciding is None or module in self._deciding:
            return True
        found = (self.get(name) for name in (module, *_parents(module)))
        said = (source.syntax.decides_results for source in found if source is not None)
        return next((decides for decides in said if decides is not None), True)

    def _is_library(self, module: str) -> bool:
        top = module.partition(".")[0]
        if top not in self._are_libraries:
            self._are_libraries[top] = _is_library(top)
        return self._are_libraries[top]


def _absolute(module: Module, imported: Import) -> str:
    """The import path of the imported module."""
    if not imported.level:
        return imported.module
    parts = module.name.split(".")
    kept = len(parts) - imported.level + module.is_package
    return ".".join([*parts[:kept], *([imported.module] if imported.module else [])])


def _outside(names: tuple[str, ...]) -> Use:
    """What a name refers to that a module does not bind."""
    if hasattr(builtins, names[0]):
        return Use(_library("builtins", names))
    return Use(Target("unknown", name=".".join(names)))


def _library(module: str, names: Iterable[str]) -> Target:
    return Target("library", module.partition(".")[0], ".".join([module, *names]))


def _parents(name: str) -> list[str]:
    """The parent packages of a module, nearest first.

    >>> _parents("mtl.study.running")
    ['mtl.study', 'mtl']
    """
    parts = name.split(".")
    return [".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1)]


# --- files ------------------------------------------------------------------------------------------------------------


def _module(name: str, path: Path) -> Module:
    return Module(name, path.stem == "__init__", syntax.read(path.read_bytes(), str(path)))


def _file(name: str) -> Path | None:
    """The source file of a module; None if there is none."""
    path, _ = _location(name)
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _exists(name: str) -> bool:
    return any(_location(name))


def _location(name: str) -> tuple[Path | None, list[Path]]:
    """The file of a module and the folders of a package. Nothing is imported, not even parent packages."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        file, folders = getattr(loaded, "__file__", None), getattr(loaded, "__path__", ())
        return Path(file) if file else None, [Path(folder) for folder in folders]
    package, _, last = name.rpartition(".")
    if package:
        return _location_in(_location(package)[1], last)
    spec = importlib.util.find_spec(name) if name else None
    if spec is None:
        return None, []
    folders = spec.submodule_search_locations or ()
    return Path(spec.origin) if spec.origin else None, [Path(folder) for folder in folders]


def _location_in(folders: Iterable[Path], name: str) -> tuple[Path | None, list[Path]]:
    namespace = []
    for folder in folders:
        package = folder / name
        if (package / "__init__.py").is_file():
            return package / "__init__.py", [package]
        if (module := folder / f"{name}.py").is_file():
            return module, []
        if package.is_dir():
            namespace.append(package)
    return None, namespace


# --- libraries --------------------------------------------------------------------------------------------------------


def library_versions(top: str) -> dict[str, str]:
    """The distributions behind a top-level import name, with their versions.

    >>> list(library_versions("sklearn"))
    ['scikit-learn']
    """
    if top in sys.stdlib_module_names:
        return {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    names = (*_distributions(top), *IMPLEMENTED_BY.get(top, ()))
    return {name: installed_version(name) for name in names} or {top: "no version"}


@cache
def installed_version(distribution: str) -> str:
    """The version of a distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "no version"


def _is_library(top: str) -> bool:
    """Whether a top-level module counts by its version: if it is installed, or cannot be found."""
    if top in OUR_PACKAGES:
        return False
    if top in sys.stdlib_module_names:
        return True
    file, folders = _location(top)
    places = [*folders, *([file] if file else [])]
    if not places:
        return top not in sys.modules  # a module made at run time has no file
    return all({"site-packages", "dist-packages"} & set(place.parts) for place in places)


@cache
def _distributions(top: str) -> tuple[str, ...]:
    """The distributions that contain a top-level module: the one of that name, else those whose files include it."""
    try:
        return (metadata.distribution(top).name,)
    except metadata.PackageNotFoundError:
        return tuple(sorted({found.name for found in metadata.distributions() if _contains(found, top)}))


def _contains(distribution: metadata.Distribution, top: str) -> bool:
    files = distribution.read_text("RECORD") or distribution.read_text("top_level.txt") or ""
    return any(f"\n{top}{end}" in f"\n{files}\n" for end in ("/", ".", "\n"))

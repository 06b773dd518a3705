"""What changes the identity of code, and what does not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heads
from mtl.code_identity import changed_definitions, code_identity, definitions, modules

Identity = Callable[..., str]
Build = Callable[[Mapping[str, str]], str]

MAIN = """
    from __future__ import annotations

    import math
    from dataclasses import dataclass
    from typing import TYPE_CHECKING, Any, cast

    import numpy as np

    from . import tools
    from .base import Base, decorated
    from .exports import shift
    from .values import LIMIT, scale

    if TYPE_CHECKING:
        from .unused import Unused

    RATE: float = 0.1
    \"\"\"The rate.\"\"\"

    @dataclass(frozen=True)
    class Options:
        size: int
        rate: float = RATE

    def unrelated(x):
        return x - 1

    class Model(Base):
        \"\"\"A model.\"\"\"

        rank = 3
        \"\"\"Its rank.\"\"\"

        def __init__(self, options: Options, limit: int = LIMIT) -> None:
            self.options = options

        @decorated
        def forward(self, x: Unused | None) -> Any:
            # Scales and shifts.
            from .late import finish

            if x is None:
                raise ValueError(f"x must be a number, got {x}")
            assert x > 0, "x must be positive"
            width: int
            width = cast("int", np.float64(x))
            return finish(tools.turn(shift(scale(x) * RATE)), width, key="a")

        def backward(self, x):
            return math.exp(x)

    def run(x):
        return Model(Options(2)).forward(x)
"""

FILES = {
    "__init__.py": '"""A package."""',
    "main.py": MAIN,
    "base.py": "class Base:\n    def go(self):\n        return 1\n\ndef decorated(f):\n    return f\n",
    "exports.py": "from .inner import moved as shift\n",
    "inner.py": "OFFSET = 1\n\ndef moved(x):\n    return x + OFFSET\n",
    "late.py": "def finish(x, width, key):\n    return x * 2\n",
    "tools.py": "def turn(x):\n    return -x\n\ndef other(x):\n    return x\n",
    "unused.py": "class Unused:\n    pass\n",
    "values.py": "LIMIT = 5\n\ndef scale(x):\n    return x * 10\n\ndef stretch(x):\n    return x * 11\n",
}


def edited(file: str, old: str, new: str) -> dict[str, str]:
    assert FILES[file].count(old) == 1, (file, old)
    return {**FILES, file: FILES[file].replace(old, new)}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("main.py", "# Scales and shifts.", "# Another comment.", id="comment"),
        pytest.param("main.py", "A model.", "A good model.", id="docstring"),
        pytest.param("main.py", '        """A model."""\n', "", id="docstring removed"),
        pytest.param("main.py", "def backward(self, x):", 'def backward(self, x):\n            "Back."', id="added"),
        pytest.param("main.py", "Its rank.", "The rank.", id="docstring of an attribute"),
        pytest.param("main.py", "The rate.", "A rate.", id="docstring of a constant"),
        pytest.param("__init__.py", "A package.", "The package.", id="docstring of a package"),
        pytest.param("main.py", "RATE: float = 0.1", "RATE = 0.1", id="annotation of a constant"),
        pytest.param("main.py", "limit: int = LIMIT) -> None", "limit=LIMIT)", id="annotations of a function"),
        pytest.param("main.py", "size: int", "size: float", id="annotation of a field"),
        pytest.param("main.py", "            width: int\n", "", id="annotation of a variable"),
        pytest.param(
            "main.py", "import math\n    from dataclasses", "import math, re\n    from dataclasses", id="import"
        ),
        pytest.param(
            "main.py",
            "from . import tools\n    from .base import Base, decorated",
            "from .base import decorated, Base\n    from . import tools",
            id="order of imports",
        ),
        pytest.param("main.py", "import numpy as np", "import numpy, numpy as np", id="import of a library"),
        pytest.param("main.py", 'key="a"', "key=('a')", id="quotes and parentheses"),
        pytest.param("main.py", "return math.exp(x)", "return math.exp(\n            x,\n        )", id="line breaks"),
        pytest.param("main.py", "must be a number, got {x}", "is no number but {x!r:>5}", id="wording of an error"),
        pytest.param("main.py", "x must be positive", "positive numbers only", id="wording of an assertion"),
        pytest.param("main.py", ', "x must be positive"', "", id="no wording of an assertion"),
        pytest.param("main.py", 'cast("int", np.float64(x))', "np.float64(x)", id="cast"),
        pytest.param("main.py", "return x - 1", "return x - 2", id="unrelated function"),
        pytest.param("main.py", "def unrelated", "def new(x): return x\n\n    def unrelated", id="new function"),
        pytest.param("main.py", "from .unused import Unused", "from .other import Unused", id="import of types"),
        pytest.param("tools.py", "return x\n", "return x + 1\n", id="unrelated function of a used module"),
        pytest.param("values.py", "LIMIT = 5\n", "LIMIT = 5\nNEW = print\n", id="new constant"),
        pytest.param("values.py", "11", "12", id="unrelated helper"),
        pytest.param("values.py", "LIMIT", "if __name__ == '__main__':\n    print(1)\n\nLIMIT", id="script"),
    ],
)
def test_what_has_no_meaning_changes_nothing(identity: Identity, file: str, old: str, new: str) -> None:
    assert identity(edited(file, old, new)) == identity(FILES)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("main.py", "Model(Options(2))", "Model(Options(3))", id="root"),
        pytest.param("main.py", "math.exp", "math.log", id="method"),
        pytest.param("main.py", "rank = 3", "rank = 4", id="attribute"),
        pytest.param("main.py", "size: int", "width: int", id="name of a field"),
        pytest.param("main.py", 'key="a"', 'key="b"', id="text in a call"),
        pytest.param("main.py", "if x is None", "if x is 0", id="condition of an error"),
        pytest.param("main.py", "raise ValueError", "raise TypeError", id="type of an error"),
        pytest.param("main.py", "assert x > 0", "assert x > 1", id="assertion"),
        pytest.param("main.py", "np.float64", "np.float32", id="function of a library"),
        pytest.param("main.py", "RATE: float = 0.1", "RATE: float = 0.2", id="constant"),
        pytest.param("main.py", "(frozen=True)", "(frozen=False)", id="argument of a decorator"),
        pytest.param("main.py", "        @decorated\n", "", id="no decorator"),
        pytest.param("main.py", "import LIMIT, scale", "import LIMIT, stretch as scale", id="other function bound"),
        pytest.param("values.py", "* 10", "* 9", id="helper"),
        pytest.param("values.py", "LIMIT = 5", "LIMIT = 6", id="default of an argument"),
        pytest.param("inner.py", "x + OFFSET", "x - OFFSET", id="helper behind a re-export"),
        pytest.param("inner.py", "OFFSET = 1", "OFFSET = 2", id="constant of a helper"),
        pytest.param("exports.py", "moved as", "OFFSET as", id="re-export"),
        pytest.param("tools.py", "return -x", "return +x", id="helper read off a module"),
        pytest.param("late.py", "x * 2", "x * 3", id="helper imported in a function"),
        pytest.param("base.py", "return 1", "return 2", id="base class"),
        pytest.param("base.py", "return f", "return f or f", id="decorator"),
        pytest.param("base.py", "class Base:", "print(1)\n\nclass Base:", id="statement of a used module"),
        pytest.param("main.py", "def unrelated", "RATE.x = 2\n\n    def unrelated", id="statement"),
        pytest.param("__init__.py", '"""A package."""', "print(1)", id="statement of a package"),
        pytest.param("exports.py", "from", "import PACKAGE.acting\nfrom", id="import of a module with statements"),
    ],
)
def test_what_is_used_changes_the_identity(identity: Identity, file: str, old: str, new: str) -> None:
    acting = {"acting.py": "print(2)"}
    assert identity({**edited(file, old, new), **acting}) != identity({**FILES, **acting})


def test_swapping_two_helpers_changes_the_identity(identity: Identity) -> None:
    helpers = {"helpers.py": "def f(x):\n    return x + 1\n\ndef g(x):\n    return x + 2\n"}
    main = "from .helpers import {}\n\ndef run(x):\n    return f(x) * g(x) ** 2\n"
    straight, swapped = (identity({"main.py": main.format(names), **helpers}) for names in ("f, g", "f as g, g as f"))
    assert straight != swapped


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from PACKAGE.sub.helpers import f", "f(x)"),
        ("from .sub.helpers import f as g", "g(x)"),
        ("from PACKAGE.sub import helpers", "helpers.f(x)"),
        ("from .sub import helpers as h", "h.f(x)"),
        ("import PACKAGE.sub.helpers", "PACKAGE.sub.helpers.f(x)"),
        ("import PACKAGE.sub.helpers as h", "h.f(x)"),
        ("from . import sub", "sub.f(x)"),
        ("from .sub import *", "f(x)"),
        ("try:\n    from .sub import f\nexcept ImportError:\n    pass", "f(x)"),
    ],
)
def test_the_form_of_an_import_has_no_influence(identity: Identity, imports: str, call: str) -> None:
    def files(imports: str, call: str, value: int = 1) -> dict[str, str]:
        return {
            "main.py": f"{imports}\n\ndef run(x):\n    return {call}\n",
            "sub/__init__.py": "from .helpers import f",
            "sub/helpers.py": f"def f(x):\n    return x + {value}\n",
        }

    assert identity(files(imports, call)) == identity(files("from .sub import f", "f(x)"))
    assert identity(files(imports, call, 2)) != identity(files(imports, call))


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("import torch.nn.functional", "torch.nn.functional.relu(x)"),
        ("import torch", "torch.nn.functional.relu(x)"),
        ("from torch import nn", "nn.functional.relu(x)"),
        ("import torch.nn.functional as F", "F.relu(x)"),
        ("from torch.nn.functional import relu as run_relu", "run_relu(x)"),
    ],
)
def test_the_form_of_an_import_from_a_library_has_no_influence(identity: Identity, imports: str, call: str) -> None:
    source = "{}\n\ndef run(x):\n    return {}\n"
    direct = "from torch.nn.functional import {}"
    assert identity(source.format(imports, call)) == identity(source.format(direct.format("relu"), "relu(x)"))
    assert identity(source.format(imports, call)) != identity(source.format(direct.format("elu as relu"), "relu(x)"))


def test_a_moved_module_keeps_every_identity(identity: Identity) -> None:
    moved = {
        **FILES,
        "main.py": MAIN.replace("from .values", "from .deep.numbers").replace("from .late", "from .deep.latest"),
        "deep/__init__.py": "",
        "deep/numbers.py": FILES["values.py"],
        "deep/latest.py": FILES["late.py"],
    }
    del moved["values.py"], moved["late.py"]
    assert identity(moved) == identity(FILES)
    nested = {f"one/two/{path}": source for path, source in FILES.items()} | {"one/__init__.py": ""}
    assert identity(nested, "one.two.main:run") == identity(FILES)


def test_renaming_a_definition_changes_it(identity: Identity) -> None:
    assert identity("def run(x):\n    return x\n") != identity("def go(x):\n    return x\n", "main:go")


def test_functions_that_call_each_other_are_followed(identity: Identity) -> None:
    def files(first: str, second: str, value: int) -> dict[str, str]:
        return {
            "main.py": f"from . import {first}\n\ndef run(n):\n    return {first}.even(n)\n",
            f"{first}.py": f"from .{second} import odd\n\ndef even(n):\n    return n == 0 or odd(n - 1)\n",
            f"{second}.py": f"from .{first} import even\n\ndef odd(n):\n    return n != {value} and even(n - 1)\n",
        }

    first = identity(files("a", "z", 0))
    renamed = files("z", "a", 0)
    renamed["main.py"] = renamed["main.py"].replace("import z", "import z as a").replace("z.even", "a.even")
    assert identity(renamed) == first
    assert identity(files("a", "z", 1)) != first


def test_local_names_do_not_refer_to_the_module(identity: Identity) -> None:
    source = """
        def helper(x):
            return x + {}

        def run(helper, items):
            return helper(1), [item for item in items], lambda item: item

        def item(x):
            return x + {}

        def {}(x):
            return helper(x)
    """
    assert identity(source.format(1, 1, "other")) == identity(source.format(2, 2, "other"))
    assert identity(source.format(1, 1, "run")) != identity(source.format(2, 1, "run"))


def test_our_types_of_fields_count_but_not_how_they_are_written(identity: Identity) -> None:
    main = """
        from .inner import Inner

        class run:
            size: int
            inner: list[Inner]
    """
    inner = "class Inner:\n    size: {} = {}\n"
    first = identity({"main.py": main, "inner.py": inner.format("int", 1)})
    other = main.replace("size: int", "size: float").replace("list[Inner]", "dict[str, Inner]")
    assert identity({"main.py": other, "inner.py": inner.format("float", 1)}) == first
    assert identity({"main.py": main, "inner.py": inner.format("int", 2)}) != first


def test_the_version_of_a_library_counts_where_it_is_used(monkeypatch: pytest.MonkeyPatch, identity: Identity) -> None:
    plain, using = "def run(x):\n    return -x\n", "import numpy\n\ndef run(x):\n    return numpy.sum(x)\n"
    before = identity(plain), identity(using)
    actual = modules.installed_version
    monkeypatch.setattr(modules, "installed_version", lambda name: "9.9" if name == "numpy" else actual(name))
    assert identity(plain) == before[0]
    assert identity(using) != before[1]


def test_tokenizers_counts_where_transformers_is_used(build: Build) -> None:
    name = build({"main.py": "import transformers\n\ndef run():\n    return transformers.AutoTokenizer\n"})
    assert {"library:transformers", "library:tokenizers"} <= set(definitions(f"{name}.main:run"))


def test_python_counts_by_its_minor_version(build: Build) -> None:
    found = definitions(f"{build({'main.py': FILES['tools.py'] + 'def run(x): return len(x)'})}.main:run")
    assert found["library:python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


# --- what decides no result -------------------------------------------------------------------------------------------

QUIET = {
    "main.py": """
        from .words import Fault, describe
        from .helpers import used

        def run(x):
            faults = [Fault("x", f"It must be a number; found {describe(x)}.")] if used(x) else []
            return faults
    """,
    "helpers.py": "def used(x):\n    return x > 0\n",
    "words/__init__.py": "DECIDES_RESULTS = False\nfrom .faults import Fault, describe\n",
    "words/faults.py": "class Fault:\n    def __init__(self, key, text):\n        pass\n\ndescribe = str\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("words/faults.py", "pass", "print(key)"),
        ("words/faults.py", "describe = str", "describe = repr"),
        ("main.py", "It must be a number; found {describe(x)}.", "No number, but {describe(x):>3}"),
        ("main.py", "Fault, describe", "describe, Fault"),
    ],
)
def test_what_decides_no_result_counts_for_nothing(identity: Identity, file: str, old: str, new: str) -> None:
    changed = {**QUIET, file: QUIET[file].replace(old, new)}
    assert changed != QUIET
    assert identity(changed) == identity(QUIET)


def test_a_module_may_decide_results_in_a_package_that_does_not(identity: Identity) -> None:
    loud = {**QUIET, "words/faults.py": "DECIDES_RESULTS = True\n" + QUIET["words/faults.py"]}
    assert identity(loud) != identity(QUIET)
    assert identity({**loud, "words/faults.py": loud["words/faults.py"].replace("str", "repr")}) != identity(loud)
    for said in ("", "DECIDES_RESULTS = True\n"):
        deciding = {**QUIET, "words/__init__.py": QUIET["words/__init__.py"].replace("DECIDES_RESULTS = False\n", said)}
        assert identity(deciding) == identity(loud)


def test_a_module_with_a_root_counts_whatever_it_says(identity: Identity) -> None:
    changed = {**QUIET, "words/faults.py": QUIET["words/faults.py"].replace("str", "repr")}
    root = "words.faults:describe"
    assert identity(changed, root) != identity(QUIET, root)
    user = {"main.py": "from .words.faults import describe\n\ndef run(x):\n    return describe(x)\n"}
    assert identity({**changed, **user}) == identity({**QUIET, **user})


def test_all_modules_count_if_everything_does(build: Build) -> None:
    changed = {**QUIET, "words/faults.py": QUIET["words/faults.py"].replace("str", "repr")}
    one, same, other = (f"{build(files)}.main:run" for files in (QUIET, QUIET, changed))
    assert code_identity(one, everything=True) == code_identity(same, everything=True)
    assert code_identity(one, everything=True) != code_identity(other, everything=True)


def test_code_in_the_arguments_still_counts(identity: Identity) -> None:
    assert identity({**QUIET, "helpers.py": "def used(x):\n    return x > 1\n"}) != identity(QUIET)


# --- modules as a whole -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "main",
    [
        "from . import tools\n\ndef run(x):\n    return getattr(tools, x)\n",
        "from . import tools\n\ndef run(x):\n    return tools.made_by_getattr\n",
        "from .tools import made_by_getattr\n\ndef run(x):\n    return made_by_getattr\n",
    ],
)
def test_a_module_counts_as_a_whole_if_no_definition_can_be_identified(identity: Identity, main: str) -> None:
    tools = {"inner.py": "def used(x):\n    return x\n", "tools.py": "from .inner import used\n\nA = 1\n"}
    first = identity({"main.py": main, **tools})
    assert identity({"main.py": main, **tools, "tools.py": tools["tools.py"] + "# comment\n"}) == first
    assert identity({"main.py": main, **tools, "tools.py": tools["tools.py"].replace("1", "2")}) != first
    assert identity({"main.py": main, **tools, "inner.py": "def used(x):\n    return -x\n"}) != first


@pytest.mark.parametrize(
    "statements",
    [
        "register('{}')",
        "if register:\n    register('{}')",
        "try:\n    value = '{}'\nexcept ValueError:\n    pass",
        "for name in ('{}',):\n    register(name)",
        "values = []\nvalues += ['{}']",
        "values = {{}}\nvalues['{}'] = 1",
        "with register:\n    register('{}')",
        "del values['{}']",
        "@run.register\ndef _(x):\n    return '{}'",
    ],
)
def test_statements_with_side_effects_belong_to_every_definition(identity: Identity, statements: str) -> None:
    source = "def run(x):\n    return x\n\nregister = print\n\n"
    same, other = identity(source + statements.format("a")), identity(source + statements.format("b"))
    assert identity(source) != same != other


def test_a_block_that_only_imports_does_nothing(identity: Identity) -> None:
    block = "try:\n    import numpy\nexcept ImportError:\n    pass\n\n"
    assert identity(block + "def run(x):\n    return x\n") == identity("def run(x):\n    return x\n")


# --- roots ------------------------------------------------------------------------------------------------------------


def test_an_object_is_the_same_root_as_its_name() -> None:
    from heads.regression import Regression, pearson

    assert code_identity(Regression) == code_identity("heads.regression:Regression")
    assert code_identity(pearson) == code_identity("heads.regression:pearson") != code_identity(Regression)


def test_the_order_of_roots_has_no_influence() -> None:
    one, other = "heads.regression:pearson", "heads.regression:ranks"
    assert code_identity(one, other) == code_identity(other, one, one) != code_identity(one)


@pytest.mark.parametrize(
    "root", ["heads.regression", "heads.regression:", ":run", "heads.regression:nothing", "heads.nothing:run"]
)
def test_a_missing_root_is_an_error(root: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(root))):
        code_identity(root)


def test_a_class_without_source_counts_by_its_name() -> None:
    def made(name: str, value: int) -> type[Any]:
        module = types.ModuleType("typed_at_a_prompt")
        sys.modules[module.__name__] = module
        exec(f"class {name}:\n    value = {value}", vars(module))
        found: type[Any] = getattr(module, name)
        return found

    try:
        assert code_identity(made("One", 1)) == code_identity(made("One", 2)) != code_identity(made("Other", 1))
    finally:
        del sys.modules["typed_at_a_prompt"]


def test_a_class_in_a_function_counts_with_its_module(folder: Path, build: Build) -> None:
    import importlib

    source = """
        OTHER = 1

        def make():
            class One:
                pass

            class Two:
                pass

            return One, Two
    """
    name = build({"main.py": source})
    one, two = importlib.import_module(f"{name}.main").make()
    first = code_identity(one)
    assert first != code_identity(two)
    file = folder / name / "main.py"
    file.write_text(file.read_text() + "# comment\n")
    assert code_identity(one) == first
    file.write_text(file.read_text().replace("OTHER = 1", "OTHER = 2"))
    assert code_identity(one) != first


def test_modules_are_not_imported(build: Build) -> None:
    name = build({**FILES, "values.py": FILES["values.py"] + "raise SystemExit\n"})
    code_identity(f"{name}.main:run")
    assert not any(module.startswith(name) for module in sys.modules)


# --- definitions ------------------------------------------------------------------------------------------------------


def found_in(build: Build, files: Mapping[str, str]) -> dict[str, str]:
    name = build(files)
    return {key.replace(name, "p"): value for key, value in definitions(f"{name}.main:run").items()}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("main.py", "math.exp", "math.log", ["p.main.Model.backward"]),
        ("main.py", "rank = 3", "rank = 4", ["p.main.Model"]),
        ("main.py", "0.1", "0.2", ["p.main.RATE"]),
        ("inner.py", "x + OFFSET", "x - OFFSET", ["p.inner.moved"]),
        ("inner.py", "OFFSET = 1", "OFFSET = 2", ["p.inner.OFFSET"]),
        ("main.py", "shift(scale(x)", "scale(scale(x)", ["p.inner.OFFSET (removed)", "p.inner.moved (removed)",
                                                          "p.main.Model.forward"]),
        ("base.py", "class Base", "print(1)\nclass Base", ["p.base (new)"]),
        ("base.py", "def decorated", "    def stop(self): pass\n\ndef decorated", ["p.base.Base",
                                                                                   "p.base.Base.stop (new)"]),
        ("main.py", "A model.", "A good model.", []),
    ],
)  # fmt: skip
def test_what_changed_is_named(build: Build, file: str, old: str, new: str, changed: list[str]) -> None:
    assert changed_definitions(found_in(build, FILES), found_in(build, edited(file, old, new))) == changed


def test_a_move_is_not_listed(build: Build) -> None:
    moved = {**FILES, "numbers.py": FILES["values.py"], "main.py": MAIN.replace("from .values", "from .numbers")}
    assert changed_definitions(found_in(build, FILES), found_in(build, moved)) == []
    moved["numbers.py"] = moved["numbers.py"].replace("* 10", "* 9")
    changed = changed_definitions(found_in(build, FILES), found_in(build, moved))
    assert changed == ["p.numbers.scale (new)", "p.values.scale (removed)"]


def test_libraries_are_named_with_their_versions() -> None:
    before = {"library:torch": "2.12.0", "library:yaml": "6.0", "library:numpy": "2.0"}
    now = {"library:torch": "2.13.0", "library:scipy": "1.15", "library:numpy": "2.0"}
    assert changed_definitions(before, now) == ["scipy 1.15 (new)", "torch 2.12.0 -> 2.13.0", "yaml 6.0 (removed)"]


# --- any code ---------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """For each function the functions that it calls."""
    size = draw(st.integers(1, 6))
    return draw(st.lists(st.lists(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size))


def laid_out(draw: st.DataObject, graph: list[list[int]], values: list[int]) -> dict[str, str]:
    """The functions in some modules, in some order, importing each other in some way."""
    size = len(graph)
    homes = draw.draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    files = {f"m{home}.py": "" for home in range(3)}
    for number in draw.draw(st.permutations(range(size))):
        calls, inside = [], ""
        for other in graph[number]:
            home = f"m{homes[other]}"
            way = "name" if homes[other] == homes[number] else draw.draw(st.sampled_from(["name", "module", "inside"]))
            if way == "inside":
                inside += f"    from .{home} import f{other}\n"
            elif homes[other] != homes[number]:
                line = f"from .{home} import f{other}\n" if way == "name" else f"from . import {home}\n"
                files[f"m{homes[number]}.py"] = line + files[f"m{homes[number]}.py"]
            calls.append(f"{home}.f{other}()" if way == "module" else f"f{other}()")
        body = f"{inside}    return {' + '.join([str(values[number]), *calls])}\n"
        files[f"m{homes[number]}.py"] += f"\ndef f{number}():\n{body}"
    return {**files, "main.py": f"from .m{homes[0]} import f0\n\ndef run():\n    return f0()\n"}


def reachable(graph: list[list[int]]) -> set[int]:
    found: set[int] = set()
    waiting = [0]
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += graph[number]
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs(), draw=st.data())
def test_reachable_code_counts_wherever_it_is_defined(identity: Identity, graph: list[list[int]], draw: Any) -> None:
    values = [0] * len(graph)
    first = identity(laid_out(draw, graph, values))
    assert identity(laid_out(draw, graph, values)) == first
    for number in range(len(graph)):
        changed = [int(other == number) for other in range(len(graph))]
        assert (identity(laid_out(draw, graph, changed)) != first) == (number in reachable(graph))


# --- our own code -----------------------------------------------------------------------------------------------------

_COPIES = count()


@pytest.fixture
def copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The identity of the copy of `heads.regression:Regression` in a copy of `heads` of another name."""
    monkeypatch.syspath_prepend(folder)

    def found(file: str = "", old: str = "", new: str = "") -> str:
        name = f"copied_heads_{next(_COPIES)}"
        shutil.copytree(Path(heads.__file__).parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (folder / name).glob("*.py"):
            path.write_text(re.sub(r"^(\s*(?:from|import) )heads\b", rf"\1{name}", path.read_text(), flags=re.M))
        if file:
            path = folder / name / file
            source = path.read_text() if path.exists() else old
            assert source.count(old) == 1
            path.write_text(source.replace(old, new))
        return code_identity(f"{name}.regression:Regression")

    return found


def test_a_copied_package_has_the_same_identity(copied: Callable[..., str]) -> None:
    assert copied() == code_identity(heads.regression.Regression)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("regression.py", "def ranks(", "# A comment.\ndef ranks("),
        ("regression.py", '"""A number for a text', '"""Some number for a text'),
        ("_text.py", "\nclass TextHead(", "\nNEW = 1\n\nclass TextHead("),
        ("new.py", "", "import heads\n\nclass New(heads.Head):\n    pass\n"),
    ],
)
def test_comments_and_new_heads_do_not_change_a_head(copied: Callable[..., str], file: str, old: str, new: str) -> None:
    assert copied(file, old, new) == code_identity(heads.regression.Regression)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("regression.py", ".clamp(-1, 1)", ".clamp(-1, 0.5)"),
        ("rows.py", "class TextRow:", "class TextRow:\n    new = 1"),
        ("_tensors.py", "std=0.02", "std=0.03"),
    ],
)
def test_helpers_change_a_head(copied: Callable[..., str], file: str, old: str, new: str) -> None:
    assert copied(file, old, new) != code_identity(heads.regression.Regression)


def test_every_process_finds_the_same_identity() -> None:
    code = "from mtl.code_identity import code_identity; print(code_identity('mtl.study.running.train_run:train'))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {code_identity("mtl.study.running.train_run:train")}

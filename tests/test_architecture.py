"""The house stands as drawn: two packages that meet over HTTP alone, no cycles, and a light front door."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support import ROOT

PACKAGES = ("connector", "ml_backend")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, without what only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from running_code(other)
        else:
            yield from running_code(child)


def imports(name: str) -> set[str]:
    """What a module imports, wherever in it, as full names: modules of ours, or names within others."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in running_code(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def modules_imported(name: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for full in imports(name):
        while full and full not in MODULES:
            full = full.rpartition(".")[0]
        found.add(full)
    return found - {"", name}


def within(full: str, package: str) -> bool:
    return full == package or full.startswith(f"{package}.")


def test_the_reader_of_imports_finds_them() -> None:
    assert {"connector.queue.publish", "connector.state.pull", "connector.errors"} <= modules_imported(
        "connector.sync.cycle"
    )
    assert "connector.sync.scoring" in modules_imported("connector.sync.cycle")  # inside a function
    assert "connector.settings" in modules_imported("connector.cli.options")
    assert "connector.backend" not in modules_imported("connector.sync.cycle")  # for type checkers alone


@pytest.mark.parametrize("name", MODULES)
def test_the_two_packages_meet_over_http_alone(name: str) -> None:
    (other,) = (package for package in PACKAGES if not within(name, package))
    used = {full for full in imports(name) if within(full, other)}
    # Only one fetcher of media is safe against hostile addresses.
    if name == "ml_backend.media":
        assert {full.split(".")[1] for full in used} == {"errors", "label_studio", "media", "retry", "settings"}
        used = set()
    assert used == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_go_round_in_a_circle(package: str) -> None:
    graph = {name: modules_imported(name) for name in MODULES if within(name, package)}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail("imports go round: " + " → ".join(error.args[1]))
    assert set(graph) <= set(order)


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, "connector")])
def test_the_connector_knows_no_model_and_no_web_framework(name: str) -> None:
    heavy = ("torch", "transformers", "sentence_transformers", "fastapi", "uvicorn", "starlette", "safetensors")
    assert [full for full in imports(name) if full.partition(".")[0] in heavy] == []


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, "ml_backend")])
def test_the_backend_knows_no_annotators(name: str) -> None:
    assert [full for full in imports(name) if full.partition(".")[0] in ("cleanlab", "sqlalchemy")] == []


# What may import what: a room may import those to the right of it, and within itself. Rooms of one level do not import
# each other. A file at the top of a package is a room by itself.
ORDER = {
    "connector": (
        {"cli", "demo"},
        {"reporting"},
        {"simulation", "diagnostics", "asking"},
        {"sync"},
        {"queue"},
        {"state"},
        {"label_studio", "backend", "active_learning", "media"},
        {"annotations"},
        {"settings", "formatting"},
        {"retry", "progress", "whole_number", "_compat"},
        {"errors"},
    ),
    "ml_backend": (
        {"cli"},
        {"rest", "model"},
        {"service"},
        {"labeling", "media"},
        {"jobs"},
        {"project"},
        {"training"},
        {"models"},
        {"features"},
        {"classifiers", "storage", "parallel", "schemas"},
        {"settings", "progress", "memory"},
        {"errors"},
    ),
}
PURE = ("connector.active_learning", "connector.annotations")
# Only this room talks to that library.
DOORS = {
    "label_studio_sdk": ("connector.label_studio",),
    "httpcore": ("connector.media",),
    "sqlalchemy": ("connector.state",),
    "openai": ("connector.asking.client",),
    "fastapi": ("ml_backend.rest",),
    "torch": ("ml_backend.features",),
}


def room_of(name: str) -> str:
    """The room of a module: the name below its package."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) and name.partition(".")[0] in ORDER])
def test_rooms_import_downwards_only(name: str) -> None:
    package, room = name.split(".")[:2]
    level = {each: index for index, rooms in enumerate(ORDER[package]) for each in rooms}
    assert room in level, f"{room} is not in the table: say where it stands"
    upwards = [
        other
        for other in modules_imported(name)
        if within(other, package) and room_of(other) not in ("", room) and level[room_of(other)] <= level[room]
    ]
    assert upwards == []


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(PURE)])
def test_the_core_does_no_io(name: str) -> None:
    doors = ("httpx", "requests", "sqlalchemy", "os", "socket", "subprocess", "urllib")
    assert [full for full in imports(name) if full.partition(".")[0] in doors] == []


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_one_door(library: str) -> None:
    users = {name for name in MODULES for full in imports(name) if full.partition(".")[0] == library}
    assert {name for name in users if not name.startswith(DOORS[library])} == set()


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(TREES[name])


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


RUN_HELP = "try: main()\nexcept SystemExit: 0"
HELP = f"import sys\nsys.argv = ['connector', '--help']\nfrom connector.cli.main import main\n{RUN_HELP}"


@pytest.mark.parametrize("code", ["import connector.cli.main", HELP], ids=["import", "help"])
def test_the_command_line_answers_before_anything_large_is_loaded(code: str) -> None:
    loaded = loaded_after(code)
    assert "click" in loaded
    large = {"numpy", "pandas", "label_studio_sdk", "cleanlab", "sqlalchemy", "requests", "httpx", "pydantic", "rich"}
    assert loaded & large == set()


def test_a_sync_with_nothing_to_do_loads_no_numbers() -> None:
    loaded = loaded_after("import connector.sync.cycle, connector.settings")
    assert "sqlalchemy" in loaded
    assert loaded & {"numpy", "pandas", "cleanlab", "torch", "sklearn", "anyio", "httpcore", "PIL"} == set()


def test_no_test_changes_the_clock_of_other_threads() -> None:
    """The event loop of a server in a thread would wait for the time that it once read."""
    changes = re.compile(r"setattr\((?:time,|\"[\w.]+\.time\.)")
    assert [path.name for path in (ROOT / "tests").rglob("test_*.py") if changes.search(path.read_text())] == []

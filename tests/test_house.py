"""The rules of the house: who may import whom, what is cheap to import, what text may say."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "finops_lab"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The table of rooms. A room may import what stands here, and what those rooms may import.
FOUNDATION = {"errors", "money", "calendar", "wording"}
ANALYSIS = {
    "pricing", "allocation", "reconciliation", "unit_economics", "service_levels", "anomalies",
    "tradeoffs", "forecasting", "planning",
}  # fmt: skip
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "money": {"errors"},
    "calendar": {"errors"},
    "wording": set(),
    "contracts": {"errors", "money"},
    "config": {"errors", "calendar"},
    "ingestion": {"contracts", "config"},  # config: tag keys and request attributes to read
    "lab": {"config", "ingestion"},
    "samples": {"contracts", "config"},  # planted truths owe nothing to the rooms that look for them
    "pricing": {"contracts"},
    "allocation": {"pricing", "contracts", "money", "config"},  # config: the rules that give owners
    "reconciliation": {"allocation"},
    "unit_economics": {"allocation"},  # coverage and amortization of the ledger
    "service_levels": {"contracts", "config", "unit_economics"},  # economic limits of features
    "measuring": {"keeping", "lab", "unit_economics", "service_levels"},  # stored roll-ups of a lab
    "valuing": {
        "watching",
        "bookkeeping",
        "measuring",
        "pricing",
        "service_levels",
    },  # a lab's KPIs, bridges, service levels
    "foreseeing": {"bookkeeping", "forecasting", "reconciling"},  # a lab's forecast
    "budgeting": {"foreseeing", "planning", "valuing"},  # a lab's budgets and plans
    "exploring": {"allocation"},  # views of a ledger
    "anomalies": {"contracts", "unit_economics", "forecasting"},
    "alerting": {"config"},  # who hears of an event, and how
    "watching": {"alerting", "anomalies", "bookkeeping", "keeping", "lab", "measuring"},
    "telling": {"alerting", "planning", "valuing", "watching"},  # a lab's alerts
    "printing_anomalies": {"alerting", "watching"},
    "tradeoffs": {"contracts"},
    "choosing": {"bookkeeping", "tradeoffs"},  # which variant a lab should run
    "routes": {"bookkeeping", "tradeoffs", "valuing"},  # a lab's machines against an API
    "profiling": {"contracts", "tradeoffs"},  # measuring variants for real
    "forecasting": {"calendar", "config"},  # config: labelled events
    "planning": {"config", "contracts", "forecasting", "money", "pricing", "allocation"},
    "optimization": ANALYSIS,
    "governance": ANALYSIS,
    "charts": {*ANALYSIS, "optimization", "governance"},
    "tables": {*ANALYSIS, "optimization", "governance"},
    "widgets": {*ANALYSIS, "optimization", "governance", "charts", "tables", "exploring"},
    "keeping": set(),  # names and locks of what is kept in a lake
    "bookkeeping": {"allocation", "ingestion", "keeping", "lab"},  # the stored ledger of a lab
    "reconciling": {"ingestion", "lab", "pricing", "reconciliation"},  # a lab against its bills
    "chargeback": {"allocation", "config", "contracts"},
    "merging": {"config", "ingestion"},
    "reporting": {
        "charts",
        "tables",
        "lab",
        "doctor",
        "bookkeeping",
        "budgeting",
        "chargeback",
        "reconciling",
        "valuing",
        "foreseeing",
        "telling",
        "tradeoffs",
    },
    "trying": {"lab", "measuring", "service_levels", "tradeoffs"},  # a lab's canaries
    "printing": {"ingestion", "doctor"},
    "printing_canary": {"tradeoffs"},
    "printing_ledger": {"allocation", "merging", "printing"},
    "printing_features": {"planning"},
    "printing_tradeoff": {"tradeoffs"},
    "printing_profile": {"profiling"},
    "printing_kpis": {"unit_economics", "reporting"},
    "printing_forecast": {"foreseeing"},
    "printing_budgets": {"budgeting"},
    "printing_offers": {"budgeting", "printing"},
    "doctor": {"contracts", "config", "ingestion", "pricing", "lab"},
    "exporting": {"contracts", "ingestion"},
}
# Above all rooms: the front door, its functions that take a lab, and the command line.
DOORS = {"", "api", "cli"}
DRAWING_AND_RUNNING = ("statsmodels", "prophet", "altair", "great_tables", "pandas", "nbconvert", "papermill")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    """Return the room of a module: the first name below the package, "" for its front door."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def allowed(room: str) -> set[str]:
    """Return the rooms that a room may import, its own included."""
    found, waiting = {room, *FOUNDATION} if room not in FOUNDATION else {room}, [room]
    while waiting:
        for other in ROOMS[waiting.pop()]:
            if other not in found or other in FOUNDATION:
                found.add(other)
                waiting += [other] if other not in FOUNDATION else []
    return found


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def on_import(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield what is imported when the module is, not in functions and not for type checkers."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        waiting += ast.iter_child_nodes(node)


@cache  # several rules look at each module
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_down_the_table_of_rooms(path: Path) -> None:
    room = room_of(path)
    if room in DOORS:
        # A door opens on every room; only the command line may use the door itself.
        may = {*ROOMS, "api"} | ({""} if room == "cli" else set()) | {room}
    else:
        assert room in ROOMS, f"{room} is not in the table of rooms: say what it may import"
        may = allowed(room)
    up = []
    for line, name in imports(parse(path)):
        package, _, rest = name.partition(".")
        if package != "finops_lab":
            continue
        other = rest.partition(".")[0]
        # `from finops_lab import x` of no module x comes through the front door.
        other = other if other in ROOMS or other in DOORS else ""
        if other not in may:
            up.append(f"line {line}: {name}")
    assert up == []


def test_the_rule_of_rooms_sees_a_wrong_import() -> None:
    # What the test above relies on: a room's closure, and that drawing never feeds analysis.
    assert allowed("money") == {"money", "errors"}
    assert allowed("reconciliation") >= {"allocation", "contracts", "money", "calendar"}
    assert all("charts" not in allowed(room) and "lab" not in allowed(room) for room in ANALYSIS)
    assert not allowed("samples") & (ANALYSIS | {"ingestion", "lab"})
    assert list(imports(ast.parse("def f():\n    from finops_lab.charts import x"))) == [
        (2, "finops_lab.charts.x")
    ]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_pandas_lives_in_forecasting_alone(path: Path) -> None:
    if room_of(path) == "forecasting":
        return
    tree = parse(path)
    assert [line for line, name in imports(tree) if name.partition(".")[0] == "pandas"] == []
    calls = [
        node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "to_pandas"
    ]
    assert calls == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    found = [(line, n) for line, n in on_import(parse(path)) if n.partition(".")[0] in DRAWING_AND_RUNNING]
    assert found == []


def test_the_front_door_loads_nothing_heavy() -> None:
    heavy = (*DRAWING_AND_RUNNING, "dataframely", "deltalake", "pydantic", "numpy", "scipy", "IPython")
    script = f"import sys, finops_lab; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_name_exists_and_is_documented(path: Path) -> None:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted)
    assert (module.__doc__ or "").strip(), "the module says nothing about itself"
    public = getattr(module, "__all__", [])
    assert len(public) == len(set(public))
    assert [name for name in public if not hasattr(module, name)] == []
    named = {name: getattr(module, name) for name in public}
    # Constants and type aliases have no docstring of their own.
    silent = [
        name
        for name, value in named.items()
        if (inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value))
        and not (inspect.getdoc(value) or "").strip()
    ]
    assert silent == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short_and_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert re.findall(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b", text) == []


def texts() -> list[Path]:
    """Return the project's documents, settings and notebooks; not what running made."""
    made = {"reports", "lake", "quarantine", "dist", "build"}
    found = (path for kind in ("md", "toml", "ipynb", "yml", "cfg") for path in ROOT.rglob(f"*.{kind}"))
    ours = (p for p in found if not any(q.startswith(".") or q in made for q in p.relative_to(ROOT).parts))
    return sorted([*ours, ROOT / "Makefile", ROOT / ".ci" / "run"])


@pytest.mark.parametrize("path", texts(), ids=name_of)
def test_documents_name_no_machine_path(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    machine = re.compile(r"(?<![\w.$}-])/(?:tmp|home|root|work|Users|mnt)/\w")
    assert [f"line {n}: {line}" for n, line in enumerate(lines, 1) if machine.search(line)] == []

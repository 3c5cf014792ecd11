"""The documentation: generated pages equal the code, links lead somewhere, examples do what they say."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from typer.main import get_command

from finops_lab import contracts
from finops_lab.cli import app
from finops_lab.config import Config
from finops_lab.contracts import TABLES
from finops_lab.contracts.pages import pages
from finops_lab.ingestion import formats_page, registry
from finops_lab.ingestion.coverage import covered
from finops_lab.ingestion.data_files import PARTITIONS
from finops_lab.lab import open_lab
from finops_lab.money import MONEY
from finops_lab.pricing import price_book

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
STALE = "differs from the code: run `make docs`"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_page_of_a_table_is_what_its_contract_gives(name: str) -> None:
    assert read(DOCS / "tables" / name) == pages()[name], STALE


def test_there_is_no_page_of_a_table_that_is_gone() -> None:
    assert sorted(path.name for path in (DOCS / "tables").iterdir()) == sorted(pages())


def test_the_page_of_formats_is_what_the_readers_give() -> None:
    assert read(DOCS / "formats.md") == formats_page.page(ROOT / "tests" / "formats"), STALE


def test_every_format_and_each_of_its_tables_stands_on_the_page_of_formats() -> None:
    text = read(DOCS / "formats.md")
    rows = {found[1]: found[2] for found in re.finditer(r"^\| \[([^]]+)\]\([^)]*\) \| (.*)$", text, re.M)}
    own = text.rpartition("## Tables in the library's own columns")[2]
    for reader in registry.readers():
        where = own if reader.FORMAT.startswith("canonical ") else rows[reader.FORMAT]
        assert f"[{reader.TABLE}](tables/{reader.TABLE}.md)" in where


def test_the_readme_names_every_family_of_formats() -> None:
    table = read(ROOT / "README.md").partition("## What is read")[2].partition("\n## ")[0]
    families = {reader.FORMAT.split()[0] for reader in registry.readers()} - {"canonical"}
    assert sorted(family for family in families if family not in table) == []


def test_what_recognises_a_format_is_said_of_readers_that_are_there_in_names_that_they_use() -> None:
    modules = {
        reader.__name__ if isinstance(reader, type(pytest)) else type(reader).__module__
        for reader in registry.readers()
    }
    assert formats_page.RECOGNISED.keys() <= {module.rpartition(".")[2] for module in modules}
    sources = {path: read(path) for path in (ROOT / "finops_lab" / "ingestion").rglob("*.py")}
    del sources[Path(formats_page.__file__)]
    # Patterns spell a point with a backslash before it.
    code = "\n".join(sources.values()).lower().replace("\\", "")
    for told in formats_page.RECOGNISED.values():
        for name in re.findall(r"`([^`]+)`", told):
            snake = re.sub(r"(?<=[a-z])(?=[A-Z])|/", "_", name).lower()
            parts = name.lower().strip(".").split(".")
            assert snake in code or all(part in code for part in parts), name


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_column_says_what_it_means(table: str) -> None:
    silent = [n for n, column in TABLES[table].columns().items() if not column.description]
    # FOCUS's own columns are described by FOCUS.
    assert [name for name in silent if table != "costs" or name.startswith("x_")] == []


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_contract_says_how_the_lake_divides_its_table(table: str) -> None:
    _, said, how = " ".join((TABLES[table].__doc__ or "").split()).partition("artitioned by ")
    named = re.findall(r"``(\w+)``", how) if said else []
    assert tuple(named) == PARTITIONS.get(table, ())


def test_allowed_values_are_those_that_the_rule_allows() -> None:
    checked = 0
    for table, schema in TABLES.items():
        for name, column in schema.columns().items():
            if column.metadata is None:
                continue
            allowed = column.metadata["allowed"]
            rule = schema._validation_rules(with_cast=False)[f"{name}|check"].expr
            rows = pl.DataFrame({name: [*allowed, "no such value"]})
            assert rows.select(rule).to_series().to_list() == [True] * len(allowed) + [False], (table, name)
            checked += 1
    assert checked > 10


def anchors(path: Path) -> set[str]:
    """Return the targets that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", read(path), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    plain = (re.sub(r"[`*]|\[\^?([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", read(path), flags=re.M | re.S)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        to = (path.parent / file).resolve() if file else path
        if not to.exists() or (heading and heading not in anchors(to)):
            broken.append(target)
    assert broken == []


def commands() -> dict[str, set[str]]:
    """Return the options of every command, subcommands written like ``export focus``."""
    found: dict[str, set[str]] = {}

    def walk(command: object, name: str) -> None:
        for word, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {word}".strip())
        if not hasattr(command, "commands"):
            found[name] = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}  # type: ignore[attr-defined]

    walk(get_command(app), "")
    return found


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_commands_and_options_of_the_documentation_exist(path: Path) -> None:
    known = commands()
    unknown = []
    for said in re.findall(r"finops-lab ((?:[a-z]+(?:-[a-z]+)* ?)+)((?:[^\n`#>|]|\\\n)*)", read(path)):
        words = said[0].split()
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), None)
        options = re.findall(r"(?<![\w-])--[a-z0-9-]+", said[1])
        if name is None or not set(options) <= known[name]:
            unknown.append(f"finops-lab {said[0]}{said[1]}")
    assert unknown == []


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_names_in_python_examples_exist(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", read(path), re.S):
        modules = {"fl": "finops_lab", "pricing": "finops_lab.pricing"}
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in modules
            ):
                assert hasattr(importlib.import_module(modules[node.value.id]), node.attr), node.attr


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_every_example_of_a_configuration_is_read(path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", read(path), re.S):
        assert Config.model_validate(tomllib.loads(block)).lab.name


def example(key: str, having: str = "") -> Config:
    """Return the example of finops-toml.md that shows a key."""
    blocks = re.findall(r"```toml\n(.*?)```", read(DOCS / "finops-toml.md"), re.S)
    (found,) = [block for block in blocks if f"[[{key}]]" in block and having in block]
    return Config.model_validate(tomllib.loads(found))


def test_the_example_of_columns_reads_files_in_such_columns(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", read(DOCS / "finops-toml.md"), re.S)
    (text,) = [block for block in blocks if "[[columns]]" in block]
    (tmp_path / "finops.toml").write_text(text, encoding="utf-8")
    (tmp_path / "exports" / "colocation").mkdir(parents=True)
    (tmp_path / "exports" / "gateway").mkdir()
    (tmp_path / "exports" / "colocation" / "2026.csv").write_text(
        "Contract,Net,From,To,Text,Rack\n"
        "C-1,1200.10,2026-09-01,2026-10-01,Rack A,A\n"
        "C-1,800.05,2026-10-01,2026-11-01,Rack A,A\n",
        encoding="utf-8",
    )
    pl.DataFrame(
        {
            "at": ["2026-10-01T08:00:00Z"],
            "llm": ["m"],
            "tokens_in": [10],
            "tokens_out": [3],
            "cost_center": ["search"],
        }
    ).write_parquet(tmp_path / "exports" / "gateway" / "calls-1.parquet")
    lab = open_lab(tmp_path, progress=False)
    assert lab.quarantine().collect().is_empty()
    bill = lab.costs().sort("ChargePeriodStart").collect()
    assert (
        bill["EffectiveCost"].to_list()
        == bill["BilledCost"].to_list()
        == [Decimal("1200.10"), Decimal("800.05")]
    )
    assert bill["x_BillingMonth"].to_list() == ["2026-09", "2026-10"]
    assert bill["x_Rack"].to_list() == ["A", "A"]
    calls = lab.table("inference_requests").select("team", "output_tokens", "n_requests").collect()
    assert calls.rows() == [("search", 3, 1)]


def test_the_plan_for_azure_counts_every_charge_once() -> None:
    # 12 for a year, bought at once: 1 a month covers usage. Beside it 5 of plain usage, 2 of Marketplace.
    rows = [
        ("azure/actual/a.csv", "Purchase", "Committed", "12", "0"),
        ("azure/actual/a.csv", "Usage", "Committed", "0", "0"),
        ("azure/actual/a.csv", "Usage", "Standard", "5", "5"),
        ("azure/actual/a.csv", "Purchase", None, "2", "2"),
        ("azure/amortized/a.csv", "Usage", "Committed", "0", "1"),
        ("azure/amortized/a.csv", "Usage", "Standard", "5", "5"),
        ("azure/amortized/a.csv", "Purchase", None, "2", "2"),
    ]
    names = ["x_SourceFile", "ChargeCategory", "PricingCategory", "BilledCost", "EffectiveCost"]
    money = pl.col("BilledCost", "EffectiveCost").cast(MONEY)
    bill = pl.LazyFrame(rows, schema=names, orient="row").with_columns(money)
    plans = example("coverage", "azure/").coverage
    counted = covered(bill, "costs", plans).collect()
    assert counted.select("BilledCost", "EffectiveCost").sum().row(0) == (Decimal(19), Decimal(8))


def test_every_plan_of_the_documentation_names_columns_that_are_there() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", read(DOCS / "finops-toml.md"), re.S)
    plans = [plan for block in blocks for plan in Config.model_validate(tomllib.loads(block)).coverage]
    assert len(plans) >= 7
    for plan in plans:
        source = "x_SourceFile" if plan.table == "costs" else "source_file"
        rows = pl.LazyFrame(schema={**contracts.dtypes(plan.table), source: pl.String()})
        assert covered(rows, plan.table, [plan]).collect().is_empty()


def test_the_agreed_prices_of_the_documentation_make_a_book(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", read(DOCS / "finops-toml.md"), re.S)
    (text,) = [block for block in blocks if "[[prices]]" in block]
    (tmp_path / "finops.toml").write_text(text, encoding="utf-8")
    (tmp_path / "exports").mkdir()
    lab = open_lab(tmp_path, progress=False)
    own = price_book(lab.table("prices")).filter(pl.col("origin") == "user").collect()
    assert own.select("unit", "rate_usd_per_unit").sort("unit").rows() == [
        ("gpu_hour", Decimal("1.98")),
        ("input_mtok", Decimal("2.10")),
        ("output_mtok", Decimal("4.20")),
    ]

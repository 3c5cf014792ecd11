"""Every reader survives hostile files: a clear error or quarantined rows, never a traceback or a loss.

30 files a reader, always the same ones; ``make fuzz`` makes 500, other ones each time.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from helpers import PLAIN_TOML, focus_row, ingest_lab, write_lab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import HOSTILE_TAGS, Mutated, mutated, records, with_tags

import finops_lab as fl
from finops_lab import contracts
from finops_lab.charts import CHART_MIME
from finops_lab.errors import FinopsError, InputError
from finops_lab.ingestion import lake, registry
from finops_lab.ingestion.data_files import delta_schema
from finops_lab.ingestion.delivered import Delivered
from finops_lab.ingestion.registry import Reader, ReadSettings, Sample
from finops_lab.ingestion.staging import rejected_file, stage
from finops_lab.money import exact_sum
from finops_lab.reporting.render import _figure
from finops_lab.reporting.section import prose
from finops_lab.tables import Table

HERE = Path(__file__).parent
EXAMPLES = sorted(
    path
    for folder in ("formats", "data/telemetry")
    for path in (HERE / folder).iterdir()
    if path.suffix != ".md"
)
FILES = int(os.environ.get("FINOPS_FUZZ", "30"))
FUZZ = settings(
    max_examples=FILES,
    deadline=None,
    database=None,
    derandomize="FINOPS_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
SETTINGS = ReadSettings(tag_keys=("team",), attributes={"team": ("team", "user_api_key_team_alias")})

# Formats of which a record is no line of its own, or says something of others (a trace of its
# observations, a step of its job, a page of its report): the others may be read differently then.
RELATED = {
    "Anthropic cost report",
    "Claude Code session",
    "EventBridge spot events",
    "Kubernetes Events",
    "Kubernetes Jobs",
    "Langfuse observations",
    "MLflow runs",
    "OTLP/JSON",
    "OpenAI costs page",
    "Prometheus query_range",
    "SageMaker training job",
    "Slurm sacct",
}
# The trace has these three columns and no other; a file with one more is of another format.
ADDED_TO = {"column added": "azure_llm_trace.csv"}
# Columns of bills that decide how much is billed.
DECIDES: dict[str, tuple[str, ...]] = {
    "FOCUS": ("BilledCost",),
    "AWS CUR": ("lineItem/UnblendedCost", "line_item_unblended_cost"),
    "Azure cost export": (
        "CostInBillingCurrency",
        "costInBillingCurrency",
        "Kosten (Cost)",
        "PreTaxCost (PreTaxCost)",
    ),
    "OCI cost report": ("cost/myCost",),
    "Invoice CSV": ("amount",),
}


@dataclass
class Outcome:
    """What became of a file: an error, or rows of each table by the record they came from."""

    error: str | None = None
    format: str = ""
    accepted: dict[str, pl.DataFrame] = field(default_factory=dict)
    rejected: dict[str, pl.DataFrame] = field(default_factory=dict)
    notes: dict[str, dict[str, int]] = field(default_factory=dict)

    def records(self) -> set[int]:
        """Return the numbers of the records that there are rows of."""
        frames = (*self.accepted.values(), *self.rejected.values())
        return {number for frame in frames for number in frame["source_row"].to_list()}

    def money(self) -> Decimal:
        """Return all money as billed, whatever the currency."""
        frames = (f for f in (*self.accepted.values(), *self.rejected.values()) if "BilledCost" in f.columns)
        return exact_sum(a for frame in frames for a in frame["BilledCost"].to_list() if a is not None)


@cache
def readers() -> list[Reader]:
    return registry.readers()


def read(path: Path) -> Outcome:
    """Read a file as a run of ingest does; any other way out than an error that says why fails."""
    done = Outcome()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            found = registry.detect(path)
            done.format = found[0].FORMAT
            for reader in found:
                _stage(path, reader, Path(folder), done)
        except FinopsError as error:
            done.error = str(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of polars is no Exception
            raise AssertionError(f"{type(error).__name__}: {error}") from error
    if done.error is not None:
        assert path.name in done.error, f"does not name the file: {done.error}"
        assert done.error.isprintable(), f"not one line of text: {done.error!r}"
        assert len(done.error) < 1200, f"endless: {done.error}"
    return done


def _stage(path: Path, reader: Reader, folder: Path, done: Outcome) -> None:
    item = Delivered(path, path.name, "0" * 64, path.stat().st_size, "", None, SETTINGS)
    entry, staged = stage(item, reader, folder)
    table = reader.TABLE
    row = "x_SourceRow" if table == "costs" else "source_row"
    good = staged.rows().rename({row: "source_row"}).collect()
    if "Tags" in good.columns:
        good = good.with_columns(pl.col("Tags").map_elements(_sorted, return_dtype=pl.String))
    bad = pl.read_parquet(rejected_file(staged))
    assert (entry.rows_accepted, entry.rows_quarantined) == (good.height, bad.height)
    assert entry.rows_read == good.height + bad.height
    assert bad["reason"].null_count() == bad["row"].null_count() == bad["source_row"].null_count() == 0
    assert (bad["reason"] != "").all()
    if good.height:
        told = good.rename({"source_row": row}).select(contracts.reasons(table).alias("why"))["why"]
        assert told.null_count() == good.height, f"accepted against the contract: {told.drop_nulls()[0]}"
    if table == "costs":
        for fate, frame in (("accepted", good), ("quarantined", bad)):
            for currency, part in frame.group_by("BillingCurrency"):
                said = Decimal(entry.money[currency[0] or "unknown"][fate])
                assert said == exact_sum(a for a in part["BilledCost"].to_list() if a is not None)
    delta_schema(staged.schema)
    lowered = Counter(name.lower() for name in staged.schema)
    assert max(lowered.values()) == 1, f"Delta tells no names apart by case: {lowered.most_common(1)}"
    names = [name for name in contracts.dtypes(table) if name in good.columns]
    source = "x_SourceFile" if table == "costs" else "source_file"
    order = ["source_row", *[n for n in names if n not in (source, "source_row")]]
    done.accepted[table] = good.select(order).sort(order)
    kept = bad.select("source_row", "reason", "BilledCost", "EffectiveCost", "BillingCurrency")
    done.rejected[table] = kept.sort(kept.columns)
    done.notes[table] = entry.notes


def _sorted(tags: str) -> str:
    """Write tags in one order: of columns, theirs is that of the columns."""
    try:
        return json.dumps(json.loads(tags), sort_keys=True)
    except (ValueError, RecursionError):
        return tags


def put(folder: str, name: str, data: bytes) -> Path:
    path = Path(folder) / name
    path.write_bytes(data)
    return path


@cache
def example(path: Path) -> Outcome:
    return read(path)


@cache
def by_format() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in EXAMPLES:
        found.setdefault(registry.detect(path)[0].FORMAT, []).append(path)
    return found


def survives(path: Path, spoiled: Mutated) -> Outcome:
    """Read a spoiled example, and hold what came of it against what is known of the mutation."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        done = read(put(folder, path.name, spoiled.data))
    before = example(path)
    if done.error is not None:
        # One value, or one record more or less, is no reason to refuse a file of lines. One JSON text
        # cannot be read past the place where it breaks, and some formats come as CSV only.
        whole = path.suffix == ".json" or spoiled.data.startswith(b"PAR1")
        assert whole or not spoiled.known or path.name == ADDED_TO.get(spoiled.what.partition(",")[0]), (
            f"refused: {done.error}"
        )
        return done
    if spoiled.records is not None and before.format not in RELATED:
        # What a format leaves out of the example on purpose, such as records of nothing, is left out here.
        left_out = records(path.name, path.read_bytes()) - len(before.records())
        assert len(done.records()) >= spoiled.records - left_out, "records are lost"
    if spoiled.same or (spoiled.known and before.format not in RELATED):
        compare(before, done, spoiled)
    return done


def compare(before: Outcome, after: Outcome, spoiled: Mutated) -> None:
    """Assert that the other records are read as before, and that nothing of the spoiled one is lost."""
    assert after.format == before.format
    for fate in ("accepted", "rejected"):
        for table, frame in getattr(before, fate).items():
            found = getattr(after, fate)[table]
            if spoiled.changed is not None:
                found = found.filter(pl.col("source_row") != spoiled.changed)
            assert found.equals(expected(frame, spoiled)), f"other rows of {table} {fate}"
    if spoiled.changed in before.records() - after.records():
        assert after.notes != before.notes, "a record is lost in silence"
    if spoiled.column is not None and not decides(before.format, spoiled.column):
        assert after.money() == before.money(), "money changed"


def expected(before: pl.DataFrame, spoiled: Mutated) -> pl.DataFrame:
    """Return the rows of an example as they ought to be after a mutation."""
    row = pl.col("source_row")
    if spoiled.changed is not None:
        before = before.filter(row != spoiled.changed)
    elif spoiled.dropped is not None:
        before = before.filter(row != spoiled.dropped).with_columns(row - (row > spoiled.dropped))
    elif spoiled.doubled is not None:
        twice = before.filter(row == spoiled.doubled).with_columns(row + 1)
        before = pl.concat([before.with_columns(row + (row > spoiled.doubled)), twice])
    return before.sort(before.columns)


def decides(format: str, column: str) -> bool:
    return any(column in names for begin, names in DECIDES.items() if format.startswith(begin))


def test_every_reader_has_an_example_that_it_reads() -> None:
    filled = {
        (done.format, table) for path in EXAMPLES for done in [example(path)] for table in done.accepted
    }
    assert filled == {(reader.FORMAT, reader.TABLE) for reader in readers()}


@pytest.mark.parametrize("format", sorted({reader.FORMAT for reader in readers()}))
def test_a_reader_survives(format: str) -> None:
    fates: Counter[bool] = Counter()

    @FUZZ
    @given(st.data())
    def survive(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(by_format()[format]))
        spoiled = data.draw(mutated(path.name, path.read_bytes()))
        fates[survives(path, spoiled).error is None] += 1

    survive()
    # Files that no reader is asked to read would prove nothing.
    assert fates[True] >= FILES // 5


# A value of these examples, in the place where a tag or another name of the customer's own stands.
TAGGED = {
    "aws_cur_2.csv": "research",
    "aws_cur_legacy.csv": "research",
    "azure_mca_amortized.csv": "search",
    "focus_1_2.csv": "search",
    "gcp_detailed.jsonl": "search",
    "helicone.jsonl": "search",
    "inference_requests.csv": "search",
    "invoice.csv": "search",
    "litellm_spend_logs.jsonl": "search",
    "oci_cost.csv": "platform",
    "opencost_allocation.csv": "search",
    "otlp_traces.jsonl": "search",
}
TEAMS = """
[[dimensions.team]]
name = "by tag"
tag = "team"
[[dimensions.team]]
name = "by OCI's tag"
tag = "Example.Team"
"""


def test_hostile_tags_arrive_in_the_lake_as_they_are(tmp_path: Path) -> None:
    paths = {path.name: path for path in EXAMPLES}
    files = {n: with_tags(n, paths[n].read_bytes(), value, HOSTILE_TAGS) for n, value in TAGGED.items()}
    lab = write_lab(tmp_path / "lab", files, PLAIN_TOML + TEAMS)
    ingest_lab(lab)
    costs = lake.scan(lab / "lake", "costs").collect()
    requests = lake.scan(lab / "lake", "inference_requests").collect()
    found = {
        name: part["x_tag_team"].to_list() + part["x_tag_example_team"].to_list()
        for (name,), part in costs.group_by("x_SourceFile")
    }
    found |= {name: part["team"].to_list() for (name,), part in requests.group_by("source_file")}
    missing = {name: set(HOSTILE_TAGS) - set(tags) for name, tags in found.items()}
    assert missing == {name: set() for name in files}


def test_hostile_names_are_text_wherever_a_review_shows_them(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    names = [tag for tag in HOSTILE_TAGS if "<" in tag or "](" in tag]
    rows = [
        focus_row(
            month=month, Tags=json.dumps({"team": name}), ServiceName=name, SkuId=name, SubAccountName=name
        )
        for month in ("2026-09", "2026-10")
        for name in names
    ]
    rows += [focus_row(month="2026-10", BilledCost=evil, ServiceName=evil)]
    lab = write_lab(tmp_path / "lab", {"<img src=x onerror=alert(1)>.csv": rows}, PLAIN_TOML + TEAMS)
    review = fl.review(lab.as_posix(), "2026-10")
    shown = ""
    for build in (review.headline, review.owners, review.receipt, review.data_quality, review.doctor):
        section = build()
        shown += prose(section.finding)
        for number, part in enumerate(section.parts):
            if isinstance(part, Table):
                shown += part.html
            else:
                # The figure's own element holds the chart's data as JSON.
                figure = _figure(number, {CHART_MIME: part.to_dict()})
                assert figure.count("<script") == figure.count("</script") == 1
                assert "<img" not in figure
    for tag in ("<script", "</script", "<img", "<h1", 'href="javascript'):
        assert tag not in shown.lower()
    assert "&lt;script&gt;alert(1)" in shown and "&lt;img src=x" in shown


def table(tmp_path: Path, name: str, **columns: pl.Series) -> Outcome:
    """Read an example as Parquet, some columns replaced."""
    source = next(path for path in EXAMPLES if path.name == name)
    frame = pl.read_csv(source, infer_schema=False, separator=registry.separator(source))
    frame = frame.with_columns(**columns)
    frame.write_parquet(tmp_path / name)
    return read(tmp_path / name)


@pytest.mark.parametrize(
    "values",
    [
        [1] * 9,
        [True] * 9,
        [Decimal("1.5")] * 9,
        [date(2026, 10, 1)] * 9,
        [timedelta(1)] * 9,
        [b'{"team":"search"}'] * 9,
        [["team", None]] * 9,
        [[None, {"key": "team", "value": "search"}]] * 9,
        [[{"name": "team"}]] * 9,
        [{"team": b"search"}] * 9,
    ],
    ids=str,
)
def test_tags_of_any_parquet_type_do_not_stop_a_bill(tmp_path: Path, values: list[object]) -> None:
    done = table(tmp_path, "focus_1_2.csv", Tags=pl.Series(values))
    assert done.error is None
    assert done.records() == set(range(1, 10))
    assert done.money() == example(HERE / "formats" / "focus_1_2.csv").money()


@pytest.mark.parametrize(
    "dtype", [pl.Boolean, pl.Date, pl.Time, pl.Duration("us"), pl.Datetime("ms")], ids=str
)
def test_money_of_a_type_that_is_no_number_is_a_reason(tmp_path: Path, dtype: pl.DataType) -> None:
    done = table(tmp_path, "training_jobs.csv", cost_usd=pl.Series([1, 2]).cast(dtype))
    assert done.error is None
    assert done.rejected["training_jobs"]["reason"].str.contains("cost_usd: '.*' is not a number").all()


def test_categories_are_read_as_text(tmp_path: Path) -> None:
    costs = pl.Series(["1,280.50", "7"], dtype=pl.Categorical)
    done = table(tmp_path, "training_jobs.csv", cost_usd=costs)
    assert done.accepted["training_jobs"]["cost_usd"].to_list() == [Decimal("1280.50"), Decimal(7)]


def test_bytes_in_a_rejected_row_do_not_lose_the_file(tmp_path: Path) -> None:
    done = table(tmp_path, "gpu_samples.csv", node=pl.Series([b"node-1", b"\xff", None]))
    assert done.records() == {1, 2, 3}
    assert done.rejected["gpu_samples"]["source_row"].to_list() == [1, 2, 3]


def test_a_panic_of_polars_is_not_taken_for_the_end_of_a_file(tmp_path: Path) -> None:
    class Panics:
        FORMAT, TABLE, SOURCE = "panics", "deploys", ""

        @staticmethod
        def matches(_: Sample) -> bool:
            return True

        @staticmethod
        def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
            (reader,) = registry.detect(path)
            # polars cannot write bytes as JSON.
            spoiled = pl.struct(pl.lit(b"x")).struct.json_encode()
            return reader.read(path, settings).with_columns(spoiled.alias("note"))

    path = HERE / "data" / "telemetry" / "deploys.csv"
    with pytest.raises(InputError, match="cannot be read"):
        _stage(path, Panics, tmp_path, Outcome())


def test_a_parquet_file_with_an_interval_is_refused(tmp_path: Path) -> None:
    import duckdb

    source = HERE / "formats" / "focus_1_2.csv"
    target = tmp_path / "bill.parquet"
    query = f"select *, interval 1 day as x_interval from read_csv('{source}', all_varchar = true)"
    duckdb.sql(f"copy ({query}) to '{target}' (format parquet)")
    assert "bill.parquet: cannot be read" in (read(target).error or "")


@pytest.mark.parametrize(
    "name", ["*", "^x$", "^.*$", "_row", "_raw", "_reasons", "BilledCost", "Tags", '"', "a\nb"]
)
def test_no_name_of_a_column_loses_or_changes_rows(tmp_path: Path, name: str) -> None:
    source = HERE / "formats" / "focus_1_2.csv"
    with source.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    (tmp_path / source.name).write_text(_csv([[*header, name], *([*row, "1"] for row in rows)]))
    before, after = example(source), read(tmp_path / source.name)
    assert after.error or after.accepted["costs"].equals(before.accepted["costs"])


def _csv(rows: list[list[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize("header", ["a\x1b[2Jb,c\n1,2\n", '"a\nb",c\n1,2\n', "x" * 100_000 + ",c\n1,2\n"])
def test_an_error_is_one_printable_line_whatever_the_file_says(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(header)
    assert read(tmp_path / "a.csv").error

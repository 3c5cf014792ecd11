"""The documentation's page of formats, written from the readers.

Run ``python -m finops_lab.ingestion.formats_page docs/formats.md tests/formats``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import Reader

__all__ = ["RECOGNISED", "main", "page"]

# What makes a reader take a file, for people, by the reader's module. One that has no line here is
# described by its own words.
RECOGNISED = {
    "aws_cur": "half of the report's usual columns, such as `line_item_unblended_cost`, "
    "`line_item_line_item_type`, `bill_payer_account_id`, in either spelling (`lineItem/UnblendedCost`); CUR 2.0 "
    "by a column that only it has: `product`, `resource_tags`, `bill_payer_account_name` and their like",
    "azure": "`MeterCategory`, `MeterName` or `MeterId`, and four more of the export's columns; the "
    "header may be in any language that keeps the field's name in brackets",
    "focus": "half of FOCUS's mandatory columns, such as `BilledCost`, `EffectiveCost`, `ChargePeriodStart`; "
    "the version by the columns that it added",
    "gcp": "`billing_account_id`, `cost`, `usage_start_time`, and `sku` or `service`",
    "invoice": "a vendor, an amount, and an invoice's number or date, under any of the names above",
    "oci": "half of the report's usual columns, such as `cost/myCost`, `lineItem/referenceNo`",
    "openai_costs": "results whose `object` is `organization.costs.result`",
    "openai_usage": "results whose `object` is `organization.usage.completions.result` or one of its like",
    "anthropic_cost": "`starting_at`, `amount` and `currency`",
    "anthropic_usage": "`starting_at` and `uncached_input_tokens`",
    "opencost": "`cpuCost` and `ramCost` with a `window` (JSON); `Date`, `Namespace`, `CPUCost`, "
    "`RAMCost`, `TotalCost` (CSV)",
    "eventbridge": "the `detail-type` `EC2 Spot Instance Interruption Warning` or `EC2 Instance "
    "Rebalance Recommendation`",
    "kubernetes": "the `kind` `Job` or `Event`, of the first object or of the list",
    "mlflow": "`info` with `run_id` and `status` (JSON); `run_id`, `experiment_id`, `status`, `start_time` and a "
    "column that starts with `metrics.`, `params.` or `tags.` (table)",
    "prometheus": "`resultType` or `result`, and a `metric` that is known",
    "sagemaker": "`TrainingJobName` and `TrainingJobStatus`",
    "slurm": "`JobID` or `JobIDRaw`, `State`, and two of `AllocTRES`, `ElapsedRaw`, `Elapsed`, `Submit`, "
    "`Start`, `End`, `JobName` and their like",
    "azure_llm_trace": "the columns `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`, and no other",
    "claude_code": "`timestamp`, a `message` with `model` and `usage`, and `sessionId` or `costUSD`",
    "helicone": "`request_created_at`, `response_created_at`, `prompt_tokens`, `completion_tokens`",
    "langfuse": "`id`, `trace_id`, `type`, `start_time` (or in camelCase), and `usage_details`, "
    "`provided_model_name` or `parent_observation_id`",
    "litellm": "`request_id`, `startTime`, `model`, and `spend`, `call_type`, `prompt_tokens` or "
    "`total_tokens`",
    "litellm_daily": "`date`, `api_key`, `prompt_tokens`, `spend`, `api_requests`",
    "otlp": "`resourceSpans`; logs and metrics are refused with their reason",
}
_ROOT = Path(__file__).parents[2]
_SECTIONS = {"bills": "Bills", "requests": "Requests", "platform": "Metrics, jobs and events"}
_CANONICAL = "canonical"
_PAGE = """\
<!-- Written by `make docs` from the readers: change a reader's docstring or SOURCE, not this page. -->

# Formats

Put a file into `exports/` as it was delivered: CSV, CSV.gz, Parquet, JSON or JSON lines. What it is
is told by its content, never by its name or folder. `finops-lab ingest --explain` says what would
become of every file and row, and writes nothing.

Each format becomes rows of one or more [tables](tables/README.md). *Checked on* says what the reader
was tested with beside a small synthetic example: real files, or the documentation alone. Where it is the
documentation alone, compare the first month's sum with your invoice before you rely on it.

Whatever the format: money read is money accepted plus money in quarantine, exactly, and `finops-lab
ingest` prints both.

{overview}

## When a file is not read

- **"no reader knows this file"**: the run stops, names the file and its columns, and writes nothing.
  Map a CSV or Parquet file with [`[[columns]]`](finops-toml.md#columns-files-in-columns-of-their-own),
  or move the file out of `exports/`. An invoice in columns that everybody uses is read as
  [Invoice CSV](#invoice-csv).
- **Rows go to quarantine**: the others are read. `finops-lab ingest` prints each reason with its
  rows; `lab.quarantine().collect()` has the rows as delivered, with file, row number and money. Have
  the file exported again, or mend it; the next run reads it anew.
- **"the file ends within a row", "cannot be read"**: it was copied in part, or is broken. Deliver it again.
- **The same money twice**: a byte-identical copy is read once. Charges that stand alike in two files
  are reported. Two sources that tell the same in different words need
  [`[[coverage]]`](finops-toml.md#coverage-what-two-sources-both-say); a newer export of a month
  belongs into a folder `delivered=2026-11-03`.
- **Passed over**: `*.md`, `*manifest*.json`, `_SUCCESS`, `*.crc`, and names that start with a dot.
- **Not final yet**: a provider may change a month until its invoice is out. Deliver it again later.

{sections}

## Tables in the library's own columns

CSV (plain or gzip; comma, semicolon, tab or `|` between the columns) or Parquet, read as it is when it
has the required columns of {canonical}.
`day`, `source_file` and `source_row` are filled in; `n_requests`, `attempt` and `sample_weight` are 1,
`tier_above_tokens` 0 and `context` `standard`, where absent. Columns that the table does not know are
left out, with a note.

Anything else in a table: [`[[columns]]`](finops-toml.md#columns-files-in-columns-of-their-own) says which
column means what.
"""


def page(examples: Path | None = None) -> str:
    """Return the text of the page.

    Parameters
    ----------
    examples : pathlib.Path, optional
        Folder of example files; each is named where its format is described.
    """
    known = registry.readers()
    own = [reader.TABLE for reader in known if reader.FORMAT.startswith(_CANONICAL)]
    groups = _groups(reader for reader in known if not reader.FORMAT.startswith(_CANONICAL))
    shown = _examples(examples)
    overview = ["| format | becomes | delivered as | checked on |", "|---|---|---|---|"]
    sections: list[str] = []
    for package, title in _SECTIONS.items():
        sections.append(f"## {title}\n")
        for readers in (group for key, group in groups.items() if key.split(".")[-2] == package):
            heading = ", ".join(_formats(readers))
            overview += _rows(readers, heading)
            sections.append(_section(heading, readers, shown))
    overview.append(
        "| [columns of the tables](#tables-in-the-librarys-own-columns) | every table but `costs` | "
        "CSV, CSV.gz, Parquet | |"
    )
    return _PAGE.format(
        overview="\n".join(overview),
        sections="\n".join(sections).rstrip(),
        canonical=", ".join(f"[{table}](tables/{table}.md)" for table in own),
    )


def _groups(readers: Iterable[Reader]) -> dict[str, list[Reader]]:
    """Put the readers of a module together."""
    found: dict[str, list[Reader]] = {}
    for reader in readers:
        module = reader.__name__ if inspect.ismodule(reader) else type(reader).__module__
        found.setdefault(module, []).append(reader)
    return found


def _formats(readers: Sequence[Reader]) -> dict[str, list[Reader]]:
    found: dict[str, list[Reader]] = {}
    for reader in readers:
        found.setdefault(reader.FORMAT, []).append(reader)
    return found


def _anchor(heading: str) -> str:
    """Spell a heading as the target of a link, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _rows(readers: Sequence[Reader], heading: str) -> list[str]:
    rows = []
    for name, mine in _formats(readers).items():
        tables = ", ".join(f"[{reader.TABLE}](tables/{reader.TABLE}.md)" for reader in mine)
        cells = (f"[{name}](#{_anchor(heading)})", tables, _delivered_as(mine[0]), _checked(mine[0]))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return rows


def _section(heading: str, readers: Sequence[Reader], examples: dict[str, list[str]]) -> str:
    (module,) = _groups(readers)
    known = RECOGNISED.get(module.rpartition(".")[2]) or _told(readers[0])
    formats = _formats(readers)
    parts = [f"### {heading}\n", _linked(_markdown(inspect.getdoc(sys.modules[module]) or ""), module)]
    parts.append(f"\nRecognised by {known}.\n")
    for name, mine in formats.items():
        of = f"**{name}** was read" if len(formats) > 1 else "Read"
        shown = ", ".join(f"[{file}](../tests/formats/{file})" for file in examples.get(name, ()))
        parts.append(f"- {of} from: {mine[0].SOURCE}." + (f" Example, synthetic: {shown}." if shown else ""))
    return "\n".join(parts) + "\n"


def _linked(text: str, module: str) -> str:
    """Link the names of modules to their files."""
    package = module.rpartition(".")[0]

    def link(found: re.Match[str]) -> str:
        dotted = found[1] if found[1].startswith("finops_lab.") else f"{package}.{found[1]}"
        for name in (dotted, dotted.rpartition(".")[0]):
            path = Path(*name.split(".")).with_suffix(".py")
            if (_ROOT / path).is_file():
                return f"[{found[0]}](../{path.as_posix()})"
        return found[0]

    return re.sub(r"`((?:finops_lab\.|_)[\w.]+)`", link, text)


def _told(reader: Reader) -> str:
    return (inspect.getdoc(reader.matches) or "").removeprefix("Tell whether ").partition(".")[0]


def _delivered_as(reader: Reader) -> str:
    """Return what the reader says of the file it takes."""
    found = re.search(r"^path : .*\n((?:    .*\n?)+)", inspect.getdoc(reader.read) or "", re.M)
    text = _markdown(" ".join(found[1].split())) if found else ""
    return text.partition(". ")[0].rstrip(".")


def _checked(reader: Reader) -> str:
    *_, last = reader.SOURCE.split("; ")
    return "documentation" if last == "from documentation" else last


def _markdown(text: str) -> str:
    return text.replace("``", "`").strip()


def _examples(folder: Path | None) -> dict[str, list[str]]:
    """Return the example files of each format."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()) if folder else ():
        if path.is_file() and not path.name.startswith("."):
            found.setdefault(registry.detect(path)[0].FORMAT, []).append(path.name)
    return found


def main(target: str, examples: str) -> None:
    """Write the page.

    Parameters
    ----------
    target : str
        The page, such as ``docs/formats.md``.
    examples : str
        Folder of example files.
    """
    Path(target).write_text(page(Path(examples)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

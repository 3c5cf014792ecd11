# ruff: noqa: E501  (rows of a Markdown table cannot be broken)
"""The sample lab's README."""

from __future__ import annotations

__all__ = ["render"]


def render(seed: int) -> str:
    """Return the text of `README.md`."""
    return _TEXT.format(seed=seed)


_TEXT = """\
# Synthetic sample lab

**Everything here is synthetic.** The company, its teams, customers, models, prices and amounts are
made up by a seeded generator. Cloud product and instance names are real so that the exports look
like exports; the prices beside them are illustrative. "Example Models API" does not exist.

Made by `finops-lab sample --out DIR --seed {seed}`. The same seed writes the same bytes.

## What is in it

| path | what |
|---|---|
| `finops.toml` | dimension rules, budgets, service level objectives, targets of KPIs, the vendor's list prices, sampling rates |
| `exports/aws/` | FOCUS 1.0, CSV.gz, a file a month: GPU instances, SageMaker, Bedrock, storage, data transfer, support, tax, two commitments with covered and unused usage |
| `exports/gcp/` | FOCUS 1.2, Parquet: GPU instances, Vertex AI, storage, credits. 2026-09 was delivered twice: the folders `delivered=...` hold both |
| `exports/model-vendor/` | FOCUS 1.2, CSV: tokens by project, model, variant and direction, with tax and a correction |
| `exports/requests/litellm/` | LiteLLM spend logs of calls to the model vendor, one call in 5,000 |
| `exports/requests/otlp/` | OTLP/JSON traces of calls to self-hosted models, one call in 4,096 or 16,384 (of the incident's failed calls one in 128): each span says which. Spans of 2026-10 carry the sizes of both bodies and the times in the engine; some traces have several calls, a retrieval or a retry |
| `exports/gpu/` | GPU samples every two hours of a few dozen GPUs, two kinds of utilization |
| `exports/capacity/` | wanted, ready and needed replicas of the same pools by hour, a GPU each, and every decision of the autoscaler |
| `exports/latency/` | latency and time to first token of the same pools in the buckets of Prometheus, six hours a window |
| `exports/deploys/` | a year of deploys, rollbacks and changes of configuration; versions are those of the training jobs |
| `exports/training/`, `exports/spot/` | training job attempts since 2025-11; spot interruptions since 2026-05 |
| `exports/evaluations/` | a year of monthly accuracy evaluations, two data sets |
| `exports/value/` | revenue and units per feature and month |
| `plans/` | the plan of a feature that is not there yet, for `finops-lab feature-budget`; models named in it that are not the company's have their real list prices |
| `truth.json` | what was planted, with dates and exact amounts, and the exact totals of every month |

Beside the copy that ships with finops_lab lies `measurements/`: not synthetic and not generated, but
measured by `finops-lab profile` on real machines; its README says which.

Bills cover 2024-05 to 2026-10 day by day (tax, support, credits and commitment fees by month);
requests, GPU samples, capacity and latency cover 2026-08 to 2026-10, deploys 2025-11 to 2026-10.

## How the parts fit together

One simulated volume of calls is behind everything. The vendor's token bill is calls x mean tokens x
price, rounded to 1,000 tokens a day; the request logs are a random sample of the same calls. So
weighted tokens of the logs match the bill up to sampling error (a percent or two a month in total,
more for rare variants), and exactly never. Calls that failed or that the gateway answered from its
own cache are in the logs and not in the bill. The gateway reckons `spend` at list price; the bill
is 5 % lower. GPU pools follow the calls: calls x GPU seconds per call / target utilization; so do
the needed replicas, and histograms count the same calls with durations of the same distribution.
Only the failed calls of the planted incident come on top: they are in the logs and on no bill.

The vendor bills its tiers (standard, batch, mini) apart. The gateway keeps the tier in the tag
`variant`; with the list prices of `finops.toml`, priced calls cost what the gateway reckons.

The dirt is deliberate: one row in twenty says `Team` for `team`, one in fifty lost its tags, the
shared gateway, data transfer, support, tax and credits have no team, and some requests lack their
context. The planted truths are in `truth.json`.

## What the shapes are calibrated on

- Token lengths (median and 95th percentile of input and output) and burstiness per minute: Azure
  LLM inference traces 2023, Azure/AzurePublicDataset, CC BY 4.0. Conversation: input 1,020 and
  4,083, output 129 and 451 tokens, calls per minute vary by 28 %. Code: 1,469 and 7,303, 13 and 90.
- GPU utilization (GPU_UTIL near 99 % when busy while SM_ACTIVE is far lower; 30 % idle samples;
  watts): AcmeTrace, InternLM, CC BY 4.0.
- The week (Tuesday 22 % above, Sunday 40 % below the mean day): daily launches of mybinder.org in
  2019, jupyterhub/binder-billing, MIT.
- Failed, cancelled and preempted training attempts are frequent, as in AcmeTrace.

Growth, seasons, prices, speeds and accuracies are plausible inventions.
"""

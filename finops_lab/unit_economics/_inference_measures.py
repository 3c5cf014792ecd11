"""How the measures of cost per inference are worked out, in words."""

from __future__ import annotations

from finops_lab.unit_economics._sampled import WORDS
from finops_lab.unit_economics.figures import Definition

__all__ = [
    "COVERED",
    "DEFINITIONS",
    "INPUT",
    "LOADED",
    "MARGINAL",
    "MEASURED",
    "OUTPUT",
    "PER_1000",
    "PER_CALL",
    "PER_OUTCOME",
    "TOKENS",
    "WEIGHTED",
]

_LEDGER, _CALLS = "ledger", "inference_requests"
_SOURCE = "allocation- and usage-based cost of OpenCost's and llm-d's inference costs"
_OF_DIRECTION = (
    "all inference money, of both directions: the ledger does not keep the prices of input and output apart"
)


def _per_call(measure: str, title: str, formula: str, *more: str, source: str = "") -> Definition:
    return Definition(
        "M1",
        measure,
        title,
        "{currency} per call",
        "{currency}",
        "calls",
        formula,
        (_LEDGER, _CALLS, *more),
        nothing="no call succeeded",
        source=source,
        bounds=WORDS,
    )


def _per_token(measure: str, title: str, what: str, more: str = "") -> Definition:
    return Definition(
        "M1",
        measure,
        title,
        "{currency} per 1M tokens",
        "{currency}",
        "tokens",
        f"inference money x 1,000,000 / {what} of all calls, failed ones included{more}",
        (_LEDGER, _CALLS),
        nothing="no call tells its tokens",
        bounds=WORDS,
    )


PER_CALL = _per_call(
    "allocated_per_call",
    "Cost per inference, allocated",
    "inference money of the models and features that requests name / successful calls that a model answered",
    source=_SOURCE,
)
MARGINAL = _per_call(
    "marginal_per_call",
    "Cost per inference, marginal",
    "as allocated_per_call without idle entries and unused commitments; what the ledger does not set apart as idle is"
    " still in it",
    source=_SOURCE,
)
MEASURED = _per_call(
    "marginal_per_call_by_samples",
    "Cost per inference, marginal, with idle time as GPUs were sampled",
    "(money of marginal_per_call - idle time of the pools that served, at the rates of GPU samples) / successful calls"
    " that a model answered; only where the ledger has no idle entries, coverage is the share of pools with samples",
    "gpu_samples",
    source=_SOURCE,
)
LOADED = _per_call(
    "fully_loaded_per_call",
    "Cost per inference, fully loaded with training",
    "(inference money + training amortized to the month of the models that served) / successful calls that a model"
    " answered",
    "training_jobs",
    "deploys",
)
PER_1000 = Definition(
    "M1",
    "allocated_per_1000_calls",
    "Cost per 1,000 inferences, allocated",
    "{currency} per 1,000 calls",
    "{currency}",
    "calls",
    "allocated_per_call x 1,000",
    (_LEDGER, _CALLS),
    nothing="no call succeeded",
    bounds=WORDS,
)
PER_OUTCOME = Definition(
    "M1",
    "allocated_per_successful_outcome",
    "Cost per successful outcome, allocated",
    "{currency} per outcome",
    "{currency}",
    "outcomes",
    "inference money / outcomes that were counted, else calls that succeeded, those answered from a gateway's cache"
    " included",
    (_LEDGER, _CALLS),
    nothing="nothing succeeded",
    bounds=WORDS,
)
TOKENS = _per_token(
    "per_1m_tokens", "Inference cost per 1M tokens, input and output", "input and output tokens"
)
INPUT = _per_token(
    "allocated_per_1m_input_tokens",
    "All inference cost (input and output) per 1M input tokens",
    "input tokens (cached ones included)",
    f"; {_OF_DIRECTION}",
)
OUTPUT = _per_token(
    "allocated_per_1m_output_tokens",
    "All inference cost (input and output) per 1M output tokens",
    "output tokens",
    f"; {_OF_DIRECTION}",
)
WEIGHTED = _per_token(
    "per_1m_weighted_tokens",
    "Inference cost per 1M tokens, weighted by usual prices",
    "tokens weighted by usual prices (input 1, cached input 0.1, output 4, or the weights given)",
    "; what an uncached input token costs if prices have these ratios, an output token costs its weight times that",
)
COVERED = Definition(
    "M1",
    "calls_with_cost",
    "Inferences whose money the ledger knows",
    "ratio",
    "calls",
    "calls",
    "successful calls of models and features that the ledger has inference money of / all successful calls that a"
    " model answered",
    (_LEDGER, _CALLS),
    better="higher",
    nothing="no call succeeded",
    bounds=WORDS,
)
DEFINITIONS: tuple[Definition, ...] = (
    PER_CALL,
    MARGINAL,
    MEASURED,
    LOADED,
    PER_1000,
    TOKENS,
    INPUT,
    OUTPUT,
    WEIGHTED,
    PER_OUTCOME,
    COVERED,
)

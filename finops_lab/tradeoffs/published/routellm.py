"""RouteLLM's outcomes: whether two models answered each question of MMLU and GSM8K rightly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["KIND", "LAYOUT", "LICENCE", "PRICES", "queries", "recognises"]

KIND = "routellm"
LAYOUT = "a folder of mmlu_*.csv, or gsm8k_responses.csv, of lm-sys/RouteLLM"
LICENCE = "Apache-2.0"
_WEAK, _STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
_MODELS = (_WEAK, _STRONG)
# ASSUMED, in USD per million tokens in and out: the files tell no money.
PRICES: Mapping[str, tuple[Decimal, Decimal]] = {
    _WEAK: (Decimal("0.6"), Decimal("0.6")),
    _STRONG: (Decimal(10), Decimal(30)),
}
_CHARACTERS_PER_TOKEN = 4
_LETTER = "x" * _CHARACTERS_PER_TOKEN  # the answers of MMLU are one letter, so one token
_MILLION = Decimal(1_000_000)


def recognises(path: Path) -> bool:
    """Tell whether a file or folder is of this set."""
    if path.is_dir():
        return any(recognises(file) for file in path.glob("mmlu_*.csv"))
    if not path.is_file() or path.suffix != ".csv":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return {"prompt", *_MODELS} <= set(file.readline(1 << 16).strip().split(","))


def queries(path: str | Path, *, prices: Mapping[str, tuple[Decimal, Decimal]] = PRICES) -> pl.DataFrame:
    """Read the outcomes as queries that `finops_lab.tradeoffs.route` takes.

    Parameters
    ----------
    path : str or pathlib.Path
        ``gsm8k_responses.csv``, one subject's ``mmlu_<subject>.csv``, or the folder of them.
    prices : mapping
        USD per million tokens in and out, by model. What stands in `PRICES` is ASSUMED.

    Returns
    -------
    polars.DataFrame
        Two rows per question, sorted: ``query`` (Int64, in the order of subjects and rows), ``feature``
        (the subject; null for GSM8K), ``model``, ``variant`` (null), ``quality`` (0 or 1),
        ``quality_metric``, ``input_tokens``, ``output_tokens`` (Int64), ``amount`` (Decimal, USD). Tokens
        are ASSUMED: four characters to one, rounded down, and one for a letter of MMLU.

    Raises
    ------
    InputError
        No such file, a missing column, an outcome that is neither True nor False, or no price.

    Notes
    -----
    lm-sys/RouteLLM, ``routellm/evals``, Apache-2.0; Ong et al., arXiv 2406.18665. All questions are
    read; RouteLLM's own evaluation leaves out the few that it found in its training data.
    """
    place = Path(path)
    files = sorted(place.glob("mmlu_*.csv")) if place.is_dir() else [place]
    if not files:
        raise InputError("no mmlu_<subject>.csv there", file=place)
    for model in _MODELS:
        if model not in prices:
            raise InputError(f"no price of {model!r}", hint="give USD per million tokens in and out")
    outcomes = pl.concat([_outcomes(file) for file in files]).with_row_index("query")
    both = pl.concat([_answered(outcomes, model, *prices[model]) for model in _MODELS])
    return both.sort("query", "model")


def _outcomes(file: Path) -> pl.DataFrame:
    try:
        found = pl.read_csv(file, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"is no table: {error}", file=file, hint="was the download cut short?") from error
    subject = file.stem.removeprefix("mmlu_") if file.stem.startswith("mmlu_") else None
    answers = [f"{model}_response" for model in _MODELS]
    for name in ("prompt", *_MODELS, *(answers if subject is None else ())):
        if name not in found.columns:
            raise InputError("the file has no such column", file=file, column=name)
    for name in _MODELS:
        odd = (~found[name].is_in(["True", "False"])).fill_null(True).arg_true()
        if odd.len():
            raise InputError("is neither True nor False", file=file, row=int(odd[0]) + 1, column=name)
    # An answer may be empty: that is no token, and not unknown.
    texts = [
        pl.col(name).fill_null("") if subject is None else pl.lit(_LETTER).alias(name) for name in answers
    ]
    return found.select("prompt", *_MODELS, *texts, pl.lit(subject, pl.String).alias("feature"))


def _answered(outcomes: pl.DataFrame, model: str, into: Decimal, out: Decimal) -> pl.DataFrame:
    def tokens(text: str) -> pl.Expr:
        return (pl.col(text).str.len_chars() // _CHARACTERS_PER_TOKEN).cast(pl.Int64)

    rows = outcomes.select(
        pl.col("query").cast(pl.Int64),
        "feature",
        pl.lit(model).alias("model"),
        pl.lit(None, pl.String).alias("variant"),
        (pl.col(model) == "True").cast(pl.Float64).alias("quality"),
        pl.lit("accuracy").alias("quality_metric"),
        tokens("prompt").alias("input_tokens"),
        tokens(f"{model}_response").alias("output_tokens"),
    )
    counts = rows.select("input_tokens", "output_tokens").iter_rows()
    amounts = [(i * into + o * out) / _MILLION for i, o in counts]
    return rows.with_columns(pl.Series("amount", amounts, MONEY))

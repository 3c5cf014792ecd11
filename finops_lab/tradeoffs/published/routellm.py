"""RouteLLM's published outcomes: what two models answered to each question of MMLU and GSM8K."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY

__all__ = ["GSM8K_PRICES", "read_routellm_gsm8k", "read_routellm_mmlu"]

_WEAK, _STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
_MODELS = (_WEAK, _STRONG)
# ASSUMED, in USD per million tokens in and out: the published files tell no money.
GSM8K_PRICES: dict[str, tuple[Decimal, Decimal]] = {
    _WEAK: (Decimal("0.6"), Decimal("0.6")),
    _STRONG: (Decimal(10), Decimal(30)),
}
_CHARACTERS_PER_TOKEN = 4
_QUERIES: dict[str, pl.DataType | type[pl.DataType]] = {
    "query": pl.Int64,
    "feature": pl.String,
    "model": pl.String,
    "variant": pl.String,
    "quality": pl.Float64,
    "quality_metric": pl.String,
    "input_tokens": pl.Int64,
    "output_tokens": pl.Int64,
    "amount": MONEY,
    "BillingCurrency": pl.String,
}


def read_routellm_mmlu(
    folder: str | Path, *, prices: dict[str, tuple[Decimal, Decimal]] | None = None
) -> pl.DataFrame:
    """Read the MMLU outcomes: a file for each subject, right or wrong per model and question.

    Parameters
    ----------
    folder : str or Path
        Folder with ``mmlu_<subject>.csv``.
    prices : dict, optional
        USD per million tokens in and out, by model; `GSM8K_PRICES`, which are assumed, without it.
        The answer is one letter, counted as one token.

    Returns
    -------
    polars.DataFrame
        Queries as `finops_lab.tradeoffs.route` takes them, two rows per question: ``query`` (number in
        the order of subjects and rows), ``feature`` (the subject), ``model``, ``variant`` (null),
        ``quality`` (0 or 1), ``quality_metric``, ``input_tokens`` and ``output_tokens`` (ASSUMED: four
        characters to a token, rounded down), ``amount`` (Decimal, ASSUMED prices), ``BillingCurrency``.

    Raises
    ------
    InputError
        No such files, other columns, or an outcome that is neither true nor false.

    Notes
    -----
    lm-sys/RouteLLM, ``routellm/evals/mmlu/responses``, Apache-2.0; Ong et al., arXiv 2406.18665. All
    14,042 questions are read; RouteLLM's own evaluation leaves out the few that it finds in its
    training data.
    """
    place = Path(folder)
    files = sorted(place.glob("mmlu_*.csv"))
    if not files:
        raise InputError("no mmlu_<subject>.csv there", file=place)
    parts = [
        _outcomes(file, ["prompt"]).with_columns(
            pl.lit(file.stem.removeprefix("mmlu_")).alias("feature"),
            *[pl.lit("x" * _CHARACTERS_PER_TOKEN).alias(f"{model}_response") for model in _MODELS],
        )
        for file in files
    ]
    return _queries(pl.concat(parts), prices or GSM8K_PRICES)


def read_routellm_gsm8k(
    file: str | Path, *, prices: dict[str, tuple[Decimal, Decimal]] | None = None
) -> pl.DataFrame:
    """Read the GSM8K outcomes: right or wrong, with the text of each answer.

    Parameters
    ----------
    file : str or Path
        ``gsm8k_responses.csv``.
    prices : dict, optional
        As for `read_routellm_mmlu`.

    Returns
    -------
    polars.DataFrame
        As `read_routellm_mmlu`; ``feature`` is null, ``output_tokens`` are those of the answer (ASSUMED:
        four characters to a token, rounded down).

    Raises
    ------
    InputError
        No such file, other columns, or an outcome that is neither true nor false.

    Notes
    -----
    lm-sys/RouteLLM, ``routellm/evals/gsm8k``, Apache-2.0.
    """
    found = _outcomes(Path(file), ["prompt", *[f"{model}_response" for model in _MODELS]])
    return _queries(found.with_columns(pl.lit(None, pl.String).alias("feature")), prices or GSM8K_PRICES)


def _outcomes(file: Path, texts: list[str]) -> pl.DataFrame:
    if not file.is_file():
        raise InputError("no such file", file=file)
    found = pl.read_csv(file, infer_schema=False)
    for name in (*texts, *_MODELS):
        if name not in found.columns:
            raise InputError("the file has no such column", file=file, column=name)
    for name in _MODELS:
        said = found[name].str.to_lowercase()
        odd = (~said.is_in(["true", "false"])).fill_null(True).arg_true()
        if odd.len():
            raise InputError("is neither True nor False", file=file, row=int(odd[0]) + 1, column=name)
        found = found.with_columns((said == "true").cast(pl.Float64).alias(name))
    # An answer may be empty; that is no token, and not unknown.
    return found.select(*texts, *_MODELS).with_columns(pl.col(texts).fill_null(""))


def _queries(outcomes: pl.DataFrame, prices: dict[str, tuple[Decimal, Decimal]]) -> pl.DataFrame:
    million = Decimal(1_000_000)
    parts = []
    for model in _MODELS:
        if model not in prices:
            raise InputError(f"no price of {model!r}", hint="give USD per million tokens in and out")
        into, out = (price / million for price in prices[model])
        tokens = {
            "input_tokens": pl.col("prompt").str.len_chars() // _CHARACTERS_PER_TOKEN,
            "output_tokens": pl.col(f"{model}_response").str.len_chars() // _CHARACTERS_PER_TOKEN,
        }
        rows = outcomes.with_row_index("query").with_columns(
            pl.col(model).alias("quality"),
            pl.lit(model).alias("model"),
            pl.lit(None, pl.String).alias("variant"),
            pl.lit("accuracy").alias("quality_metric"),
            pl.lit("USD").alias("BillingCurrency"),
            *[many.cast(pl.Int64).alias(name) for name, many in tokens.items()],
        )
        amounts = [
            i * into + o * out for i, o in rows.select("input_tokens", "output_tokens").iter_rows()
        ]
        rows = rows.with_columns(pl.Series("amount", amounts, MONEY))
        parts.append(rows.select(pl.col(name).cast(kind) for name, kind in _QUERIES.items()))
    return pl.concat(parts).sort("query", "model")

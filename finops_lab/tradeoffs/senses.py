"""Which way a quality metric is good: known names, and the one direction of a table."""

from __future__ import annotations

import re

import polars as pl

from finops_lab.errors import InputError

__all__ = ["FIXED", "check_sense", "is_share", "one_metric", "one_sense", "sense_of"]

_UP = """
acc, accuracy, ap, auc, auprc, auroc, average precision, bertscore, bleu, chrf, comet, correct, correlation,
dice, elo, em, exact match, exactmatch, f1, fbeta, fscore, groundedness, hit rate, iou, jaccard, kappa,
kendall, likelihood, map, mcc, meteor, miou, mrr, ndcg, pass, pass rate, pearson, pr auc, precision, psnr,
r squared, r2, recall, rho, roc auc, rouge, rouge l, rouge lsum, rougel, rougelsum, sensitivity, spearman,
specificity, ssim, success rate, top, true negative rate, true positive rate, win rate
"""
# "drop" alone is the name of a benchmark.
_DOWN = """
acc drop, accuracy drop, bits per byte, bits per token, bpb, bpc, brier, cer, cross entropy, degradation,
divergence, ece, eer, err, error, error rate, failure rate, false negative rate, false positive rate, fid,
hallucination, hallucination rate, kl, logloss, loss, lpips, mae, mape, mase, mse, negative log likelihood,
nll, perplexity, ppl, quality drop, regret, rmse, smape, ter, toxicity, wer
"""
_SENSES = {tuple(name.split()): True for name in _UP.replace("\n", " ").split(",")} | {
    tuple(name.split()): False for name in _DOWN.replace("\n", " ").split(",")
}
_LONGEST = max(map(len, _SENSES))
# Words after a metric's name that leave its direction alone.
_PLAIN = {
    "avg", "average", "clean", "final", "flexible", "macro", "mean", "median", "micro", "none", "norm",
    "overall", "pct", "percent", "percentage", "score", "strict", "test", "total", "val", "weighted",
}  # fmt: skip
# What turns a direction or leaves none: "1 - WER", "inverse perplexity". Nobody guesses those.
_TURNING = {"complement", "inv", "inverse", "minus", "neg", "negated", "reciprocal"}
_TURNED = re.compile(r"(?:1|100 ?%?)? ?[-\N{MINUS SIGN}]|one minus")
_SHARES = {
    *("acc", "accuracy", "correct", "em", "err", "error", "error rate", "exact match", "exactmatch"),
    *("failure rate", "hallucination rate", "hit rate", "pass", "pass rate", "success rate", "top", "win rate"),
}  # fmt: skip
# A mean of these differences is no share, though it is called an error.
_AMOUNTS = re.compile(r"absolute|squared?|relative")
_SHOWN = 3
# Columns of a points frame whose direction is known whatever is measured; True is higher is better.
FIXED = {
    **dict.fromkeys(
        (
            *(
                "amount",
                "per_1000_inferences",
                "per_1m_tokens",
                "cost_per_success",
                "p50_ms",
                "p95_ms",
                "p99_ms",
            ),
            *(
                "worst_p95_ms",
                "latency_ms",
                "energy_j",
                "memory_mib",
                "size_mib",
                "error_rate",
                "quality_loss",
            ),
        ),
        False,
    ),
    "throughput_per_s": True,
    "saving_share": True,
}


def sense_of(metric: str) -> bool | None:
    """Tell which way a metric is good, by its name.

    Parameters
    ----------
    metric : str
        A metric's name in any spelling: ``top1``, ``MMLU accuracy``, ``acc,none``, ``ROUGE-L``.

    Returns
    -------
    bool or None
        True when higher is better, False when lower is, None when the name tells nothing. The last
        known word decides (``accuracy_loss`` is a loss); a name that turns a metric around
        (``1 - WER``, ``neg_log_loss``) tells nothing.

    Examples
    --------
    >>> sense_of("top1"), sense_of("WikiText perplexity"), sense_of("vibes")
    (True, False, None)
    """
    return _SENSES.get(_known(metric))


def is_share(metric: str) -> bool:
    """Tell whether a metric is a share of items that are right or wrong, so that its noise is binomial.

    Examples
    --------
    >>> is_share("top1"), is_share("f1"), is_share("mean absolute error")
    (True, False, False)
    """
    return " ".join(_known(metric)) in _SHARES and not _AMOUNTS.search(metric.lower())


def one_metric(names: pl.Series, wanted: str | None = None) -> str | None:
    """Return the metric to compare by: the one wanted, else the only one, else ``accuracy``.

    Parameters
    ----------
    names : polars.Series
        Names of metrics, String; null is none.
    wanted : str, optional
        The metric that was asked for.

    Returns
    -------
    str or None
        None where nothing is named.

    Raises
    ------
    InputError
        An unknown metric, or several of which none is accuracy.

    Examples
    --------
    >>> one_metric(pl.Series(["f1", "accuracy"])), one_metric(pl.Series(["f1", "f1"]))
    ('accuracy', 'f1')
    """
    known = names.drop_nulls().unique().sort().to_list()
    if wanted is not None and wanted not in known:
        raise InputError(f"no quality {wanted!r}", hint=f"known: {', '.join(known) or 'none'}")
    if wanted is None and len(known) > 1 and "accuracy" not in known:
        raise InputError(
            "several metrics: one quality must be named", hint=f"quality= one of {', '.join(known)}"
        )
    return wanted or ("accuracy" if "accuracy" in known else next(iter(known), None))


def one_sense(
    frame: pl.DataFrame, *, metric: str = "quality_metric", value: str = "quality"
) -> tuple[str, bool]:
    """Return the one metric of a table and whether higher is better; refuse a mixture.

    Accuracies and perplexities in one column would make a worse variant look better. So would a
    perplexity marked as "higher is better". Both are refused, with the rows.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns `value` (numeric); `metric` (String) and ``higher_is_better`` (Boolean) where there are
        any; ``model`` and ``variant`` name the rows in errors. Rows without a value do not count.
    metric, value : str
        The columns: ``quality_metric`` and ``quality`` of a points frame, ``metric`` and ``value`` of
        measured outcomes.

    Returns
    -------
    tuple of (str, bool)
        The metric's name, as the first row spells it (`value` when no row names a metric), and its
        direction. ``higher_is_better`` decides where `sense_of` does not know the name.

    Raises
    ------
    InputError
        No row has a value, several metrics, a metric named on some rows only, rows that disagree on
        ``higher_is_better`` or contradict a known name, or a direction that nothing tells.

    Examples
    --------
    >>> points = pl.DataFrame({"quality_metric": ["top1", "top1"], "quality": [0.7, 0.71]})
    >>> one_sense(points)
    ('top1', True)
    """
    if value not in frame.columns:
        raise InputError(f"no column {value!r}", hint=f"known: {', '.join(frame.columns)}")
    labels = [name for name in ("model", "variant") if name in frame.columns]
    optional = [(metric, "metric", pl.String), ("higher_is_better", "up", pl.Boolean)]
    rows = frame.select(
        pl.int_range(1, pl.len() + 1).alias("row"),
        pl.concat_str([pl.col(name).cast(pl.String) for name in labels], separator="/", ignore_nulls=True)
        .fill_null("")
        .alias("label")
        if labels
        else pl.lit("").alias("label"),
        *[
            pl.col(name).cast(kind).alias(alias) if name in frame.columns else pl.lit(None, kind).alias(alias)
            for name, alias, kind in optional
        ],
        pl.col(value).cast(pl.Float64).fill_nan(None).alias("value"),
    ).filter(pl.col("value").is_not_null())
    if rows.is_empty():
        raise InputError("no row has a quality, so there is no direction to tell", column=value)
    rows = rows.with_columns(pl.col("metric").str.strip_chars().str.to_lowercase().alias("key"))
    keys = rows.unique("key", keep="first", maintain_order=True)
    if keys.height > 1:
        raise InputError(
            "different metrics cannot be compared: "
            + "; ".join(
                _these(rows.filter(pl.col("key").eq_missing(k)), m)
                for k, m in keys.select("key", "metric").rows()
            ),
            column=metric,
            hint="filter to one metric",
        )
    name = keys["metric"][0]
    known = sense_of(name) if name is not None else None
    ups = rows.filter(pl.col("up").is_not_null())
    marked = ups["up"].unique().to_list()
    if len(marked) > 1:
        parts = (_these(ups.filter(pl.col("up") == up), str(up).lower()) for up in (True, False))
        raise InputError(
            f"rows disagree on the direction of {name or value!r}: {'; '.join(parts)}",
            column="higher_is_better",
        )
    if known is not None and marked and marked[0] is not known:
        raise InputError(
            f"{name!r} is better when {'higher' if known else 'lower'}, "
            f"but marked the other way: {_these(ups, str(marked[0]).lower())}",
            column="higher_is_better",
            hint="correct higher_is_better, or give the metric a name of its own",
        )
    if known is None and not marked:
        raise InputError(
            f"nothing tells which way {name or value!r} is better",
            column="higher_is_better",
            hint="add the column higher_is_better",
        )
    return name or value, marked[0] if known is None else known


def check_sense(frame: pl.DataFrame, name: str, *, higher_is_better: bool) -> None:
    """Refuse a direction that contradicts what is known of a column.

    Parameters
    ----------
    frame : polars.DataFrame
        The candidates. A column ``quality`` beside ``quality_metric`` or ``higher_is_better`` must hold
        one metric in its own direction.
    name : str
        The objective: a column of `frame`.
    higher_is_better : bool
        The direction it is about to be read in.

    Raises
    ------
    InputError
        The column is called as a known metric or a figure of known direction (``perplexity``,
        ``p95_ms``) that is good the other way; or see `one_sense`.

    Examples
    --------
    >>> check_sense(pl.DataFrame({"perplexity": [5.1]}), "perplexity", higher_is_better=False)
    """
    known = FIXED.get(name, _SENSES.get(tuple(re.findall(r"[a-z]+\d*|\d+", name.lower()))))
    told = name
    marks = {"quality_metric", "higher_is_better"} & set(frame.columns)
    if name == "quality" and frame[name].count() and any(frame[mark].count() for mark in marks):
        told, known = one_sense(frame)
    if known is not None and known is not higher_is_better:
        raise InputError(
            f"{told!r} is better when {'higher' if known else 'lower'}, so it cannot be "
            f"{'maximised' if higher_is_better else 'minimised'}",
            column=name,
            hint="give it in the other sense, or give the column a name of its own",
        )


def _known(metric: str) -> tuple[str, ...]:
    """Return the known name that a metric's name ends with, or nothing."""
    # lm-eval writes the filter after a comma ("exact_match,strict-match"), others the set-up in brackets.
    name = re.sub(r"\(.*?\)|'", "", metric.partition(",")[0]).strip()
    if _TURNED.match(name):
        return ()
    return _tail(name) or _tail(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))


def _tail(name: str) -> tuple[str, ...]:
    words = re.findall(r"[a-z]+\d*|\d+", name.lower())
    if _TURNING & set(words):
        return ()
    while words and (words[-1].isdigit() or words[-1] in _PLAIN) and tuple(words[-1:]) not in _SENSES:
        words.pop()
    for tail in (words, [*words[:-1], *(w.rstrip("0123456789") for w in words[-1:])]):
        for length in range(_LONGEST, 0, -1):
            if tuple(tail[-length:]) in _SENSES:
                return tuple(tail[-length:])
    return ()


def _these(rows: pl.DataFrame, what: str | None) -> str:
    shown = [
        f"row {row} ({label})" if label else f"row {row}"
        for row, label in rows.select("row", "label").head(_SHOWN).rows()
    ]
    more = f" and {rows.height - _SHOWN} more" if rows.height > _SHOWN else ""
    return f"{what or 'no name'} in {', '.join(shown)}{more}"

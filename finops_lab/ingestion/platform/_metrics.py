"""Which metrics of a training run measure how good a model is, and in which direction."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Metric", "metric_of"]

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_BETTER_HIGH = frozenset(
    [
        "accuracy",
        "balanced_accuracy",
        "f1",
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "f1_macro",
        "f1_micro",
        "f1_weighted",
        "precision",
        "recall",
        "exact_match",
        "auc",
        "roc_auc",
        "auroc",
        "pr_auc",
        "average_precision",
        "map",
        "bleu",
        "sacrebleu",
        "rouge",
        "rougel",
        "rouge_l",
        "rougelsum",
        "meteor",
        "bertscore",
        "mrr",
        "ndcg",
        "hit_rate",
        "mmlu",
        "r2",
        "pearson",
        "spearman",
        "mcc",
        "matthews_correlation",
        "iou",
        "mean_iou",
        "dice",
        "win_rate",
    ]
)
_BETTER_LOW = frozenset(
    [
        "loss",
        "log_loss",
        "logloss",
        "cross_entropy",
        "perplexity",
        "wer",
        "cer",
        "mse",
        "rmse",
        "mae",
        "mape",
        "smape",
        "error",
        "error_rate",
        "classification_error",
    ]
)
_NAMES = {
    "acc": "accuracy",
    "accuracy_score": "accuracy",
    "f1_score": "f1",
    "em": "exact_match",
    "ppl": "perplexity",
    "r2_score": "r2",
    "precision_score": "precision",
    "recall_score": "recall",
    "roc_auc_score": "roc_auc",
    "root_mean_squared_error": "rmse",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}
# rouge1, bleu-4, ndcg@10, pass@1, recall_at_5, top5_accuracy
_AT_K = re.compile(
    r"(rouge|bleu|ndcg|pass|hit_rate|recall|precision|map|mrr|accuracy)_?(at_?|@)?[0-9]{1,4}"
    r"|top_?[0-9]{1,4}_accuracy"
)


class Metric(NamedTuple):
    """Name of a metric without its split, the split (train, validation, test), and its direction."""

    name: str
    split: str | None
    higher_is_better: bool


def metric_of(said: str) -> Metric | None:
    """Tell what a logged metric measures; None for what is no quality (durations, learning rates).

    Examples
    --------
    >>> metric_of("validation:Accuracy")
    Metric(name='accuracy', split='validation', higher_is_better=True)
    >>> metric_of("eval/ndcg@10"), metric_of("train_loss").higher_is_better, metric_of("learning_rate")
    (Metric(name='ndcg@10', split='validation', higher_is_better=True), False, None)
    """
    words = [word for word in re.split(r"[\s:/_.-]+", said.strip().lower()) if word]
    split = next((_SPLITS[word] for word in (words[:1] + words[-1:]) if word in _SPLITS), None)
    if words and words[0] in _SPLITS:
        words = words[1:]
    elif words and words[-1] in _SPLITS:
        words = words[:-1]
    name = "_".join(words)
    name = _NAMES.get(name, name)
    if name in _BETTER_HIGH or _AT_K.fullmatch(name):
        return Metric(name, split, True)
    return Metric(name, split, False) if name in _BETTER_LOW else None

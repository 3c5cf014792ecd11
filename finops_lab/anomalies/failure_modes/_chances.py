"""Chances of as many as were seen, given what was seen before: exact, with the past's own doubt in them."""

from __future__ import annotations

__all__ = ["of_count", "of_share", "score"]


def of_share(hits: float, of: float, hits_before: float, of_before: float) -> float:
    """Return the chance of so many hits among so many, given a share seen before.

    Beta-binomial: the predictive distribution of a share known from `of_before` with Jeffreys' prior
    (Gelman et al., "Bayesian Data Analysis", section 2.4). It tends to the binomial tail as more is known.

    Examples
    --------
    >>> round(of_share(5, 50, 10, 1000), 5)
    0.00035
    """
    from scipy.stats import betabinom

    below = of_before - hits_before + 0.5
    return float(betabinom.sf(round(hits) - 1, round(of), hits_before + 0.5, below))


def of_count(count: int, time: float, count_before: float, time_before: float) -> float:
    """Return the chance of so many events in a time, given how many came in a time before.

    Negative binomial: the predictive distribution of a Poisson rate with Jeffreys' prior.

    Examples
    --------
    >>> round(of_count(6, 7.0, 8, 56.0), 5)
    0.00204
    """
    from scipy.stats import nbinom

    if time_before <= 0:
        return 1.0
    return float(nbinom.sf(count - 1, count_before + 0.5, time_before / (time_before + time)))


def score(chance: float) -> float:
    """Return the normal score that is exceeded by such a chance, 38 at the most.

    Examples
    --------
    >>> round(score(0.00135), 2), score(0.0)
    (3.0, 38.0)
    """
    import numpy as np

    from finops_lab.anomalies._tails import score_of_chance

    return float(score_of_chance(np.array(chance)))

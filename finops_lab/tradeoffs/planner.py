"""How many items or rounds a claim needs before it can be proven."""

from __future__ import annotations

import math
from statistics import NormalDist

from finops_lab.errors import InputError

__all__ = ["needed", "paired_items", "paired_power", "unpaired_items"]


def paired_items(
    *, margin: float, discordance: float, difference: float = 0.0, level: float = 0.95, power: float = 0.80
) -> int:
    """Return how many items both variants must answer to prove a loss below the margin.

    Parameters
    ----------
    margin : float
        Loss that is too much, as a share of items: 0.005 is half a percentage point.
    discordance : float
        Share of items that one of the two gets right and the other wrong. Take it from a first sample;
        it is what makes pairs cheap.
    difference : float
        What the candidate truly is above the baseline; negative: a loss.
    level : float
        Confidence of the proof, one-sided; with several variants ``1 - (1 - level) / variants``.
    power : float
        How often the proof should succeed.

    Returns
    -------
    int
        Items. Never fewer than prove the margin when no item at all tells the two apart.

    Raises
    ------
    InputError
        Shares that cannot be, or a difference that misses the margin: no number of items proves it.

    Notes
    -----
    ``(z_level + z_power)^2 (discordance - difference^2) / (margin + difference)^2``; R. J. Connor, "Sample
    size for testing differences in proportions for the paired-sample design", Biometrics 43, 1987, with a
    margin.

    Examples
    --------
    >>> paired_items(margin=0.005, discordance=0.025)
    6183
    >>> paired_items(margin=0.005, discordance=0.025, difference=-0.0028)
    31925
    """
    _check_shares(margin=margin, discordance=discordance)
    if abs(difference) > discordance:
        raise InputError(f"a difference of {difference} needs at least that discordance, not {discordance}")
    spread = math.sqrt(discordance - difference * difference)
    floor = NormalDist().inv_cdf(_share("level", level)) ** 2 * (1 - margin) / margin
    return max(needed(margin + difference, spread, level=level, power=power), math.ceil(floor))


def paired_power(
    items: int, *, margin: float, discordance: float, difference: float = 0.0, level: float = 0.95
) -> float:
    """Return how often so many items would prove a loss below the margin.

    Parameters
    ----------
    items : int
        Items that both variants answer.
    margin, discordance, difference, level
        As in `paired_items`.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    InputError
        Shares that cannot be, or no items.

    Examples
    --------
    >>> round(paired_power(5617, margin=0.005, discordance=0.025, difference=-0.0028), 2)
    0.27
    """
    _check_shares(margin=margin, discordance=discordance)
    spread = math.sqrt(max(discordance - difference * difference, 0.0))
    if items <= 0 or spread == 0:
        raise InputError("power needs items, and some on which the two variants disagree")
    reach = (margin + difference) / spread * math.sqrt(items)
    return NormalDist().cdf(reach - NormalDist().inv_cdf(_share("level", level)))


def unpaired_items(
    *, margin: float, share: float, difference: float = 0.0, level: float = 0.95, power: float = 0.80
) -> int:
    """Return how many items each variant needs when they answer different items.

    Parameters
    ----------
    margin, difference, level, power
        As in `paired_items`.
    share : float
        The baseline's share of right answers.

    Returns
    -------
    int
        Items of each variant.

    Raises
    ------
    InputError
        As `paired_items`.

    Examples
    --------
    Pairs with a discordance of 0.93 % need 2,300 items for the same proof:

    >>> unpaired_items(margin=0.005, share=0.9068), paired_items(margin=0.005, discordance=0.0093)
    (41801, 2300)
    """
    _check_shares(margin=margin, share=share, candidate=share + difference)
    other = share + difference
    spread = math.sqrt(share * (1 - share) + other * (1 - other))
    return needed(margin + difference, spread, level=level, power=power)


def needed(gap: float, spread: float, *, level: float = 0.95, power: float = 0.80) -> int:
    """Return how many pairs show that a mean is above zero.

    Parameters
    ----------
    gap : float
        The true mean of one pair's contribution: how far the truth is inside the claim.
    spread : float
        Its standard deviation, in the same unit.
    level, power : float
        As in `paired_items`.

    Returns
    -------
    int
        Pairs, at least 1: ``((z_level + z_power) spread / gap)^2``, rounded up.

    Raises
    ------
    InputError
        A gap that is not above zero: more data would refute the claim, not prove it.

    Examples
    --------
    >>> needed(0.1, 0.5)
    155
    """
    if not gap > 0:
        raise InputError(
            "the difference itself misses the margin: no number of items proves the claim",
            hint="the claim is false if the difference is real",
        )
    z = NormalDist().inv_cdf(_share("level", level)) + NormalDist().inv_cdf(_share("power", power))
    # 2300.0000000001 is rounding, not another item.
    return max(1, math.ceil((z * spread / gap) ** 2 - 1e-6))


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} lies between 0 and 1, not {value}")
    if shares["margin"] == 0:
        raise InputError("a margin of 0 cannot be planned for", hint="say how small a loss does not matter")


def _share(name: str, value: float) -> float:
    if not 0.5 <= value < 1:
        raise InputError(f"{name} lies from 0.5 up to below 1, not {value}")
    return value

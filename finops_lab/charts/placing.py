"""Names beside points, without names over each other: a greedy search over a few places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Place", "Spot", "place_names"]

_LINE = 13.0
# Widths in pixels of the bold 11 px letters that names are written in.
_NARROW, _CHARACTER, _CAPITAL, _WIDE = 4.0, 6.6, 8.0, 9.8
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Spot:
    """A point in pixels (y grows downwards) with the area of its symbol and its name."""

    x: float
    y: float
    area: float
    name: str

    @property
    def radius(self) -> float:
        """Half the symbol's width."""
        return math.sqrt(self.area / math.pi) + 1.0


@dataclass(frozen=True)
class Place:
    """Where a name goes, relative to its point: Vega's ``align``, ``dx`` and ``dy``."""

    align: Literal["left", "center", "right"]
    dx: float
    dy: float


def place_names(
    spots: Sequence[Spot], width: float, height: float, lines: Sequence[Box] = ()
) -> list[Place | None]:
    """Find a free place for each name, the first spot first; None where there is none.

    Parameters
    ----------
    spots : sequence of Spot
        All points; their symbols are kept free of names.
    width, height : float
        Size of the plot in pixels.
    lines : sequence of (left, top, right, bottom)
        What a name lies over only where no other place is free.

    Returns
    -------
    list of Place or None
        One per spot.

    Examples
    --------
    >>> place_names([Spot(100, 50, 80, "a"), Spot(102, 50, 80, "b")], 200, 100)[0].align
    'right'
    """
    taken = [_around(spot) for spot in spots]
    places: list[Place | None] = []
    for own, spot in enumerate(spots):
        others = [box for i, box in enumerate(taken) if i != own]
        free: list[tuple[bool, Place, Box]] = []
        for place in _candidates(spot):
            box = _box(spot, place)
            inside = min(box) >= 0 and box[2] <= width and box[3] <= height
            if inside and not any(_overlap(box, other) for other in others):
                free.append((any(_overlap(box, line) for line in lines), place, box))
        best = min(free, key=lambda choice: choice[0], default=None)
        places.append(best and best[1])
        taken += [best[2]] if best else []
    return places


def _written(name: str) -> float:
    """Return about how many pixels wide a name is."""
    return sum(
        _NARROW if sign in "fijlrt-.,:;'|! ()[]/" else _WIDE if sign in "mwMW@%" else
        _CAPITAL if sign.isupper() else _CHARACTER
        for sign in name
    )  # fmt: skip


def _candidates(spot: Spot) -> list[Place]:
    gap = spot.radius + 3
    # Left and above first: no variant lies there when the point is on a Pareto front.
    return [
        Place("right", -gap * 0.7, -gap * 0.7 - 3),
        Place("center", 0, -gap - 6),
        Place("left", gap * 0.7, gap * 0.7 + 4),
        Place("left", gap, 0),
        Place("left", gap * 0.7, -gap * 0.7 - 3),
        Place("right", -gap, 0),
        Place("center", 0, gap + 6),
    ]


def _box(spot: Spot, place: Place) -> Box:
    wide = _written(spot.name)
    left = {"left": 0.0, "center": -wide / 2, "right": -wide}[place.align] + spot.x + place.dx
    middle = spot.y + place.dy
    return left, middle - _LINE / 2, left + wide, middle + _LINE / 2


def _around(spot: Spot) -> Box:
    return spot.x - spot.radius, spot.y - spot.radius, spot.x + spot.radius, spot.y + spot.radius


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

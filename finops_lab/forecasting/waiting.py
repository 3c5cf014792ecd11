"""A progress bar for those who wait: on a terminal, and only once the work has taken a while."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def shown(items: Sequence[T], label: str, *, after_s: float = 2.0) -> Iterator[T]:
    """Yield the items; where standard error is a terminal, draw a bar from `after_s` seconds on.

    The bar is gone at the end. Notebooks, logs and pipes see nothing.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    start, left = time.monotonic(), iter(items)
    done = 0
    for item in left:
        yield item
        done += 1
        if time.monotonic() - start >= after_s:
            break
    if done == len(items):
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=len(items), completed=done)
        for item in left:
            yield item
            bar.advance(task)

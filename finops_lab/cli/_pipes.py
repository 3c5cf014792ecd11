"""Output into a pipe whose reader has seen enough, such as `head`."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["outlive_readers"]


class _Outlives(io.FileIO):
    """A file descriptor that goes on taking what is written when nobody reads it any more."""

    def write(self, data, /):  # type: ignore[no-untyped-def]  # as io.FileIO says it
        """Write as a file does; from the end of the reader on, into nothing."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def outlive_readers() -> None:
    """Let a command end as it would have ended, when a reader of its output ends first.

    Files asked for are written and the exit code is true; click and rich would stop the command at
    that moment, with 1. Streams that are no descriptors of this process, as in tests, stay as they are.

    Examples
    --------
    >>> outlive_readers()
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__") or stream.isatty():
            continue
        stream.flush()
        raw = _Outlives(stream.fileno(), "w", closefd=False)
        setattr(
            sys,
            name,
            io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            ),
        )

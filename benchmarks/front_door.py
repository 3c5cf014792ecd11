"""CPU of the front door: `import finops_lab` and `finops-lab --help` against `import polars`.

Each is a fresh Python process, all of it counted, bytecode caches warm. An empty process is shown
for scale.
"""

from __future__ import annotations

import sys

import _form
from _form import Figure

CASES = {
    "import polars": [sys.executable, "-c", "import polars"],
    "import finops_lab": [sys.executable, "-c", "import finops_lab"],
    "finops-lab --help": [sys.executable, "-c", "from finops_lab.cli import main; main()", "--help"],
    "empty process": [sys.executable, "-c", ""],
}
# Of the "Must hold".
IMPORT = 1.2
HELP = 1.5


def main() -> int:
    """Run the commands in turn and report."""
    parser = _form.arguments(__doc__, rounds=15)
    args = parser.parse_args()
    for command in CASES.values():
        _form.process(command)
    runs = _form.interleaved(
        {name: lambda command=command: _form.process(command) for name, command in CASES.items()}, args.rounds
    )
    _form.print_runs("front door, fresh processes", runs)
    polars, package, helped, _ = (_form.middle(runs[name]).cpu for name in CASES)
    _form.report(
        [
            Figure("front_door/import", package / polars, "ratio of CPU", "lower", IMPORT, "import polars"),
            Figure("front_door/help", helped / polars, "ratio of CPU", "lower", HELP, "import polars"),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

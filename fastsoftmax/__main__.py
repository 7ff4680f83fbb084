"""The command ``fastsoftmax`` (also ``python -m fastsoftmax``): runs `cli.commands`, or says which package it needs."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # the exit code that shells expect after SIGINT, which is signal 2: 128 + 2


def main() -> int:
    """Run the command line and return the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    try:
        try:
            from .cli.commands import run
        except ModuleNotFoundError as error:
            if error.name != "click":
                raise
            print("fastsoftmax: the command line needs click: pip install 'fastsoftmax[cli]'", file=sys.stderr)
            return 2
        return run()
    except KeyboardInterrupt:
        print("fastsoftmax: interrupted by Ctrl-C", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

"""`python -m g4v`: the same as the `g4v` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())

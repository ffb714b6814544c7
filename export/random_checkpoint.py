"""`python -m g4v.export.random_checkpoint OUT`: a complete training run with random weights."""

import sys

from g4v.export.checkpoint.random_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())

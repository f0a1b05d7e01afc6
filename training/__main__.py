"""`torchrun --nproc-per-node N -m vdit.training ...`: `vdit train ...` in several processes, on one machine or many."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m vdit.host`: the `vdit` command, for where its script is not on the path."""

import sys

from .cli import main

sys.exit(main())

"""`python -m vdit.host`: the `vdit` command, for where its script is not on the path."""

import sys

from .cli import entry

if __name__ == "__main__":  # processes that train together import this under another name
    sys.exit(entry())

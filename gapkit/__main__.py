"""`python -m gapkit`, the same as the command `gapkit`."""

import sys

from gapkit.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

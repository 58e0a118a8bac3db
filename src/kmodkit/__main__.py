"""Run the command line: ``python -m kmodkit``."""

import sys

from kmodkit.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""The same as ``ibnseg test``."""

import sys

from ibnseg.cli import main

sys.exit(main(["test", *sys.argv[1:]]))

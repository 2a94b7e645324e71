"""The same as ``ibnseg predict``."""

import sys

from ibnseg.cli import main

sys.exit(main(["predict", *sys.argv[1:]]))

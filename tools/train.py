"""The same as ``ibnseg train``."""

import sys

from ibnseg.cli import main

sys.exit(main(["train", *sys.argv[1:]]))

"""The list of the published checkpoints, for the terminal."""

from __future__ import annotations

import sys
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table

from ibnseg.models.checkpoints import hub_folder
from ibnseg.models.zoo import AUTHORS, PUBLISHED, SCHEME, TORCHVISION

BASES = {AUTHORS: "the paper's authors", TORCHVISION: "torchvision, plain"}
"""Who has published the files below each address."""


def listing() -> str:
    """Lists the published checkpoints by publisher, with those that are in torch's hub folder
    marked."""
    folder = hub_folder()
    table = Table(box=box.HORIZONTALS, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for head in ("parameters", "top-1", "top-5"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("file", no_wrap=True)
    table.add_column("here", no_wrap=True)
    for base in BASES:
        for name, row in PUBLISHED.items():
            if not row.url.startswith(base):
                continue
            file = row.url.removeprefix(base)
            errors = ("-" if error is None else f"{error:.2f}" for error in (row.top1, row.top5))
            here = "yes" if (folder / file).is_file() else ""
            table.add_row(name, f"{row.parameters / 1e6:.2f} M", *errors, file, here)
        table.add_section()
    console = Console(file=StringIO(), width=1000, force_terminal=sys.stdout.isatty())
    console.print(table)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    lines += [
        "Errors on ImageNet's validation images in percent (256, centre crop 224). In a config:",
        f'    init_cfg=dict(type="Pretrained", checkpoint="{SCHEME}NAME")',
        "Downloaded when needed, or put by hand into",
        f"    {folder}",
        *(f"Files of {whose}:\n    {base}" for base, whose in BASES.items()),
    ]
    return "\n".join(lines)

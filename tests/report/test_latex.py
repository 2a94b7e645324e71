"""Reports as LaTeX."""

import shutil
import subprocess

import pytest

from ibnseg.report.gather import gather
from ibnseg.report.latex import _text, as_latex
from tests.conftest import save_run
from tests.report.conftest import road

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


def test_rows_of_a_latex_table(report):
    text = as_latex(report())
    assert r"\begin{tabular}{@{}lllrrr@{}}" in text
    head = r"trained on & network &  & GTA5 & Cityscapes & mean of unseen \\"
    assert f"\\toprule\n{head}\n\\midrule" in text
    row = r"GTA5 & B\_ibn & pixel accuracy $\pm$ sd & 90.0 $\pm$ 0.0 & \textbf{50.0 $\pm$ 7.1} & "
    assert row + r"\textbf{50.0 $\pm$ 7.1} \\" in text
    assert r"95 \% interval & {[90.0, 90.0]} &" in text
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 2


def test_negative_numbers_have_a_minus(tmp_path):
    runs = [
        save_run(tmp_path / name, {"gta5": road(*right)}, name=name)
        for name, right in (("a", (8, 9)), ("b", (4, 5)))
    ]
    assert "& $-$40.0 &" in as_latex(gather(runs, "road"))
    assert "{[$-$40.0, $-$40.0]}" in as_latex(gather(runs, "road"))


def test_titles_can_end_no_row_and_no_paragraph(tmp_path):
    run = save_run(tmp_path, {"gta5": road(8, 9)}, title='* a\n\n\\end{tabular}\x1b[2J "')
    text = as_latex(gather([run], "road"))
    assert r"* a \textbackslash{}end\{tabular\}\textbackslash{}x1b[2J" in text
    assert text.count(r"\end{tabular}") == 1
    assert "\x1b" not in text
    assert _text("*") == r"{*}"
    assert _text("[1.0, -2.0]") == r"{[1.0, $-$2.0]}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_the_tables_compile_whatever_characters_titles_hold(runs, published, tmp_path):
    special = r"50% & more_{x}^2 ~ $1 #2 \par <a> ± [z]"
    odd = save_run(tmp_path / "odd", {"gta5": road(2, 4)}, name="odd", title=special)
    text = as_latex(gather([*runs, odd], published=True))
    (tmp_path / "x.tex").write_text(DOCUMENT % text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]

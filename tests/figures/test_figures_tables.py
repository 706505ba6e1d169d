"""Tables in three notations."""

from degas_ray.figures.tables import html, latex, markdown

ROWS = [
    {"net": "DEGAS (ours)", "IS": "8.37 ± 0.08", "FID": 12.01, "parameters": 1_650_000},
    {"net": "a|b & <c>_1", "IS": None, "FID": 9.8, "parameters": None, "best": True},
]
COLUMNS = ["net", "IS", "FID", "parameters", "best"]


def test_markdown_lines_up_and_keeps_bars_in_their_cells() -> None:
    assert markdown(ROWS, COLUMNS).splitlines() == [
        "| net          | IS          |   FID | parameters | best |",
        "|:-------------|:------------|------:|-----------:|:-----|",
        "| DEGAS (ours) | 8.37 ± 0.08 | 12.01 |  1,650,000 | –    |",
        r"| a\|b & <c>_1 | –           |  9.80 |          – | yes  |",
    ]


def test_html_is_escaped() -> None:
    text = html(ROWS, COLUMNS)
    assert "<td>a|b &amp; &lt;c&gt;_1</td>" in text
    assert '<td class="number">9.80</td>' in text
    assert text.count("<tr>") == 3


def test_latex_is_escaped() -> None:
    text = latex(ROWS, COLUMNS)
    assert text.splitlines()[0] == r"\begin{tabular}{llrrl}"
    assert r"a\textbar{}b \& \textless{}c\textgreater{}\_1 & -- & 9.80 & -- & yes \\" in text
    assert r"8.37 $\pm$ 0.08" in text


def test_numbers_of_a_column_can_be_compared() -> None:
    rows = [{"fid": 940.31, "lr": 0.00856, "n": float("nan")}, {"fid": 1714.4, "lr": 0.0634, "n": 2.0}]
    lines = markdown(rows, ["fid", "lr", "n"]).splitlines()[2:]
    assert lines == ["|   940.3 | 0.00856 |    – |", "| 1,714.4 |  0.0634 | 2.00 |"]


def test_an_empty_table_has_its_headings() -> None:
    assert markdown([], ["a"]).splitlines() == ["| a   |", "|:----|"]
    assert r"\midrule" in latex([], ["a"])

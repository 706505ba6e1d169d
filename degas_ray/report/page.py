"""One HTML page that needs nothing else: its look is inside, and nothing is loaded from anywhere."""

from html import escape

_STYLE = """
:root { color-scheme: light; --ink: #1a1a1a; --grey: #6b6b6b; --line: #dcdcdc; --pale: #f6f6f6; --blue: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: white;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, li { max-width: 48rem; }
.lead { font-size: 1.1rem; }
.small, figcaption { color: var(--grey); font-size: .88rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.35; margin: .6rem 0; }
th, td { padding: .32rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { border-bottom: 2px solid var(--ink); white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.winner td { background: #e8f3fa; font-weight: 600; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
img.pixels { image-rendering: pixelated; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.facts div { background: var(--pale); border-radius: 6px; padding: .7rem .9rem; }
.facts b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.facts span { color: var(--grey); font-size: .85rem; }
code, pre { font: .84rem/1.5 ui-monospace, "Liberation Mono", monospace; }
pre { background: var(--pale); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--blue); }
@media print { body { max-width: none; } h2, figure { break-inside: avoid; } }
"""


def page(title: str, body: str) -> str:
    """Return a whole page.

    Args:
        title: Plain text.
        body: HTML whose text is escaped.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )

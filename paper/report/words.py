"""Prose and code as HTML: markdown, signs written in ASCII, highlighted Python."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from workbench import prose


def signs(text: str) -> Markup:
    """Formulas written in ASCII with Greek letters, indices and powers; see ``workbench.prose``."""
    return Markup(prose.signs(text))


def markdown(text: str, first_heading: int = 1) -> Markup:
    """Markdown (CommonMark with tables, no raw HTML) whose largest headings are of level ``first_heading``."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + first_heading - 1)}"
        for child in token.children or []:
            if child.type == "text":
                child.type, child.content = "html_inline", str(signs(child.content))
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def title_and_rest(text: str) -> tuple[str, str]:
    """The first line, where it stands alone and is no sentence, and what follows; else no title."""
    first, _, rest = text.partition("\n")
    alone = not rest.strip() or rest.startswith("\n")
    if alone and first and not first.endswith((".", ":", "?")):
        return first.lstrip("# "), rest.strip()
    return "", text


def python(code: str) -> Markup:
    """Python code, highlighted."""
    formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
    return Markup(
        f'<pre class="code"><code>{highlight(code, PythonLexer(stripnl=False), formatter).rstrip()}</code></pre>'
    )

"""The page of `kmodkit size --html`: a treemap of an image, with the chart's library in the page itself."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from kmodkit.cli.common import bytes_text
from kmodkit.cli.size import why
from kmodkit.errors import MissingLibraryError

if TYPE_CHECKING:
    from kmodkit.image import Image

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ font: 15px sans-serif; margin: 1em; }} h1 {{ font-size: 1.2em; }}</style>
</head>
<body>
<h1>{title}</h1>
<p>Areas are bytes as stored. Click a directory to look into it; hover a file to see why it is in.</p>
{chart}
</body>
</html>
"""


def treemap_page(image: Image) -> str:
    """Return the page, the same text for the same image; raises MissingLibraryError without plotly."""
    try:
        from plotly import graph_objects, io
    except ImportError as error:
        raise MissingLibraryError("plotly", "the chart", "html") from error
    ids, parents, labels, sizes, texts = _nodes(image)
    chart = graph_objects.Figure(
        graph_objects.Treemap(
            ids=ids,
            parents=parents,
            labels=labels,
            values=sizes,
            branchvalues="total",
            customdata=texts,
            hovertemplate="<b>%{label}</b><br>%{customdata}<extra></extra>",
            textinfo="label",
            maxdepth=6,
        )
    )
    chart.update_layout(margin={"t": 30, "l": 0, "r": 0, "b": 0}, height=800)
    # A fixed id: plotly makes up a random one, and the page would never be the same twice.
    body = io.to_html(chart, full_html=False, include_plotlyjs=True, div_id="treemap")
    return _PAGE.format(title=f"{bytes_text(image.size)} of modules and firmware", chart=body)


def _nodes(image: Image) -> tuple[list[str], list[str], list[str], list[int], list[str]]:
    """Return what plotly wants of each directory and file: id, parent's id, label, bytes and the hover's text."""
    sizes: dict[str, int] = {"": 0}
    texts: dict[str, str] = {}
    for part in image.parts:
        if part.target is not None:
            continue
        path = ""
        sizes[""] += part.size
        for component in part.path.split("/"):
            path = f"{path}/{component}"
            sizes[path] = sizes.get(path, 0) + part.size
        texts[path] = f"{bytes_text(part.size)}<br>" + "<br>".join(map(_escaped, why(part).split("; ")))
    ids = list(sizes)
    return (
        [node or "/" for node in ids],
        ["" if node == "" else node.rpartition("/")[0] or "/" for node in ids],
        [_escaped(node.rpartition("/")[2]) or "all" for node in ids],
        list(sizes.values()),
        [texts.get(node) or bytes_text(sizes[node]) for node in ids],
    )


def _escaped(text: str) -> str:
    # Names come out of files, and need be no text at all.
    return html.escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))

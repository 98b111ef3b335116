"""This module draws what is no chart of numbers: tables of counts, and images beside each other."""

from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup

from tasks.reporting.charts import HEIGHT, LEFT, TOP, WIDTH, finite, framed, known, written
from tasks.reporting.facts import Picture

MOST = 30
"""A table of more lines cannot be read."""
ACROSS = 4
LETTERS = 24
PNG = "data:image/png;base64,"


def table(picture: Picture) -> Markup | None:
    """Draw counts as squares, darker where there are more on a line; None for too many to be read."""
    count = len(picture.cells)
    if not 0 < count <= MOST:
        return None
    step = (HEIGHT - TOP - 20) / count
    left = LEFT + 40.0
    body = []
    for line, cells in enumerate(picture.cells):
        top, total = TOP + step * line, sum(known(cells)) or 1
        body.append(written(left - 6, top + step / 2 + 4, picture.labels[line][:LETTERS], "end"))
        for column, value in enumerate(cells):
            if value is None or not finite(value) or not value:
                continue
            at = left + step * column
            color = "actual" if line == column else "candidate"
            body.append(
                f'<rect class="{color}" x="{at:.1f}" y="{top:.1f}" width="{step * 0.94:.1f}" '
                f'height="{step * 0.94:.1f}" opacity="{0.15 + 0.6 * value / total:.2f}"/>'
            )
            body.append(written(at + step / 2, top + step / 2 + 4, f"{value:,.0f}", "middle"))
    for column, name in enumerate(picture.labels):
        body.append(written(left + step * (column + 0.5), HEIGHT - 6, name[: max(2, LETTERS // count)], "middle"))
    return framed("".join(body), picture.title)


def gallery(picture: Picture) -> Markup | None:
    """Draw small images with what they are called below; None where one is no PNG within the page."""
    if not all(image.startswith(PNG) for image in picture.images):
        return None
    lines = -(-len(picture.images) // ACROSS)
    width, height = WIDTH / ACROSS, (HEIGHT - TOP) / max(lines, 1)
    side = min(width, height - 16)
    body = []
    for place, (image, name) in enumerate(zip(picture.images, picture.labels, strict=False)):
        left, top = width * (place % ACROSS), TOP + height * (place // ACROSS)
        body.append(
            f'<image x="{left + (width - side) / 2:.1f}" y="{top:.1f}" width="{side:.1f}" height="{side:.1f}" '
            f'style="image-rendering:pixelated" href={quoteattr(image)}><title>{escape(name)}</title></image>'
        )
        body.append(written(left + width / 2, top + side + 11, name[:LETTERS], "middle"))
    return framed("".join(body), picture.title)

"""Where nodes lie on the canvas."""

TITLE_BAR = 30  # pixels above a node's box


def overlapping(boxes):
    """Pairs of names of nodes (name, x, y, width, height) that lie on one another, title bars included."""
    return [
        (name, other)
        for i, (name, x, y, w, h) in enumerate(boxes)
        for other, x2, y2, w2, h2 in boxes[:i]
        if not (x + w <= x2 or x2 + w2 <= x or y + h <= y2 - TITLE_BAR or y2 + h2 <= y - TITLE_BAR)
    ]

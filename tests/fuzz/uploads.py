"""Multipart bodies as a browser, a script or an attacker sends them to /upload/image: fields, file names, edits."""

from dataclasses import dataclass

from edits import EDITS, HEADS, edited
from hypothesis import strategies as st
from media_seeds import picture_seeds, video_seeds

BOUNDARY = "----vdit0"
FORM = "multipart/form-data"
NAMES = ("image", "image", "image", "subfolder", "type", "overwrite", "original_ref", "x", "")
GOOD = ("a.png", "b.JPG", "c.webp", "d.mp4", "../../e.png")
ODD = (
    *("f/g.png", "C:\\h.png", "i.exe", "j", "", ".png", "k.png.exe", "l" * 300 + ".png", "m\0.png", 'n".png'),
    *("ö球.png", "con.png", "..", "%2e%2e%2fo.png", "p.png ", "q.svg"),
)
WORDS = (
    *("", "input", "output", "temp", "true", "1", "sub", "sub/dir"),
    *("../..", "/etc", "\0", "a" * 5000, "ö", '{"type": 5}'),
)
KINDS = (
    *[f"{FORM}; boundary={BOUNDARY}"] * 9,
    *(f'{FORM}; boundary="{BOUNDARY}"; charset=utf-16', FORM, f"{FORM}; boundary=", f"{FORM}; boundary={'b' * 100}"),
    *(f"multipart/mixed; boundary={BOUNDARY}", f"{FORM}; boundary=other", f"MULTIPART/form-data;boundary={BOUNDARY}"),
    *("text/plain", "application/json", "application/x-www-form-urlencoded"),
)
HEADERS = (
    *("", "", "", "Content-Type: image/png", "Content-Transfer-Encoding: base64", "Content-Encoding: gzip"),
    *("Content-Type: multipart/mixed; boundary=z", "Content-Length: 9", "X: " + "y" * 9000),
)


@dataclass(frozen=True)
class Upload:
    """A body, its Content-Type, and how it was made."""

    kind: str
    how: tuple
    body: bytes

    def __repr__(self) -> str:
        return f"{self.kind}: {self.how}"


def _contents() -> dict[str, bytes]:
    media = picture_seeds() | video_seeds()
    cut = {f"cut {name}": data[: len(data) // 2] for name, data in media.items()}
    return media | cut | {"nothing": b"", "text": b"x", "end": f"\r\n--{BOUNDARY}--\r\n".encode()}


def _made(kind: str, parts: list, edits: list, contents: dict[str, bytes]) -> Upload:
    body, how = b"", []
    for name, file, content, word, header in parts:
        named = "" if file is None else f'; filename="{file}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n'
        head += f"{header}\r\n" * bool(header) + "\r\n"
        body += head.encode() + (word.encode() if file is None else contents[content]) + b"\r\n"
        how.append((name, word[:20]) if file is None else (name, file[:20], content))
    body += f"--{BOUNDARY}--\r\n".encode()
    return Upload(kind, (*how, *edits), edited(body, tuple(edits)))


def uploads() -> st.SearchStrategy[Upload]:
    """Bodies of up to five fields, each with up to three edits of its bytes."""
    contents = _contents()
    big, content = st.integers(0, 2**32 - 1), st.sampled_from(list(contents))
    file = st.one_of(st.none(), st.sampled_from(GOOD), st.sampled_from(ODD))
    part = st.tuples(st.sampled_from(NAMES), file, content, st.sampled_from(WORDS), st.sampled_from(HEADERS))
    whole = st.tuples(st.just("image"), st.sampled_from(GOOD), content, st.just(""), st.just(""))
    begun = st.builds(lambda one, more: [one, *more], whole, st.lists(part, max_size=3))
    parts = st.one_of(st.lists(part, max_size=5), begun, begun)
    edit = st.tuples(st.sampled_from(list(EDITS)), st.integers(0, len(HEADS) - 1), big, big)
    edits = st.one_of(st.just([]), st.lists(edit, max_size=3))
    return st.builds(lambda kind, rows, cuts: _made(kind, rows, cuts, contents), st.sampled_from(KINDS), parts, edits)

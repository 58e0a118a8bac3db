"""Whatever the text, WHENCE is read or refused, and where a name leads is found in bounded time."""

from __future__ import annotations

import posixpath

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.whence import MAX_LINKS, follow, parse_whence
from kmodkit.errors import WhenceError

WORD = st.sampled_from(["a", "b", "a/b", "c d", "é", "..", ".", "", "/", "\\", '"', "->", " ", "\\ ", "\t", "\0"])
LINE = st.builds(
    lambda kind, words: kind + "".join(words),
    st.sampled_from(["File: ", "RawFile:", "Link: ", "Link:a -> ", "Raw: ", "Driver: ", "", " "]),
    st.lists(WORD, max_size=6),
)
NAME = st.text(st.characters(exclude_characters='\0\n"\\/', codec="utf-8"), min_size=1, max_size=12).filter(
    lambda name: name == name.strip(" \t\r") and name not in (".", "..")
)
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
PART = st.sampled_from(["a", "b", "c"])
PARTS = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4).map("/".join)
TABLE = st.dictionaries(st.lists(PART, min_size=1, max_size=2).map("/".join), PARTS, max_size=6)


@given(st.one_of(st.text(), st.binary(), st.lists(LINE).map("\n".join)))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    """A value whose names are plain paths, or a WhenceError at the start of a line."""
    data = text if isinstance(text, bytes) else text.encode()
    try:
        whence = parse_whence(text)
    except WhenceError as error:
        assert error.offset is not None
        assert error.offset == 0 or data[error.offset - 1 : error.offset] == b"\n"
        return
    for name in [*(file.name for file in whence.files), *(link.path for link in whence.links)]:
        assert posixpath.normpath(name) == name
        assert not name.startswith(("/", "../"))
        trail = whence.resolve(name)
        assert trail is None or trail.path in whence


@given(st.lists(PATH, unique=True), st.booleans(), st.booleans())
def test_names_that_are_written_are_read(names: list[str], quoted: bool, raw: bool) -> None:
    """Quoted, or with a backslash before each blank, a name comes back as it was."""
    kind = "RawFile" if raw else "File"
    written = [f'"{name}"' if quoted else name.replace(" ", "\\ ").replace("\t", "\\\t") for name in names]
    whence = parse_whence("".join(f"{kind}: {name}\n" for name in written))
    assert [file.name for file in whence.files] == names
    links = parse_whence("".join(f"Link: {name} -> x\n" for name in written if quoted or "->" not in name))
    assert [link.path for link in links.links] == [name for name in names if quoted or "->" not in name]


@given(TABLE, PARTS)
def test_following_ends_at_a_path_through_no_link(table: dict[str, str], path: str) -> None:
    """Whatever the table, what comes out is canonical, and no longer than forty links away."""
    trail = follow(path, table.get, rooted=True)
    if trail is None:
        return
    assert len(trail.links) <= MAX_LINKS
    parts = trail.path.split("/") if trail.path else []
    assert ".." not in parts
    assert not any("/".join(parts[: end + 1]) in table for end in range(len(parts)))

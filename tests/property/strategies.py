"""What the property tests are fed with: patterns of every kind, texts that are near them, and catalogs."""

from __future__ import annotations

from hypothesis import strategies as st

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import SoftDeps
from kmodkit.core.names import to_text

# Few letters, so that patterns and texts meet; with bytes that are special, above ASCII, or in classes.
BYTES = b"aabbc-_0Z/[]!^*?\\:=. \xc3\xa9\xff"
PIECES = [
    b"*", b"*", b"?", b"a", b"b", b"ab", b"c-", b"\xff", b"\xc3\xa9", b"\\", b"[", b"]", b"-",
    b"[ab]", b"[a-c]", b"[!a]", b"[^b-]", b"[]a]", b"[!]a]", b"[1-9A-F]", b"[a\\]]", b"[\\", b"[c-a]",
    b"[\x80-\xff]", b"[[:alpha:]]", b"[![:digit:]_]", b"[[:", b":]", b"[[:nope:]]", b"[[=a=]", b"[=",
    b"[[.a.]-c]", b"[.", b".]", b"!", b"^",
]  # fmt: skip

texts = st.lists(st.sampled_from(list(BYTES)), max_size=8).map(bytes)
# What the classes of `core.alias` document as left out: a range up to "[" before ":" or "=".
patterns = (
    st.lists(st.sampled_from(PIECES), max_size=7)
    .map(b"".join)
    .filter(lambda pattern: b"-[:" not in pattern and b"-[=" not in pattern)
)
usual_patterns = st.lists(
    st.sampled_from(
        [b"*", b"*", b"?", b"a", b"b", b"ab", b"ba", b"c-d", b"[ab]", b"[!a]", b"[b-c]", b"\\*", b"\xff"]
    ),
    max_size=6,
).map(b"".join)

_names = st.sampled_from([f"m{number}" for number in range(4)])
_needs = st.lists(st.sampled_from(["m0", "m1", "m2", "m3", "unknown"]), max_size=2, unique=True).map(tuple)
_words = st.lists(st.sampled_from(["m0", "m3", "a-b", "é", "\udcff"]), max_size=2, unique=True).map(tuple)
_aliases = st.lists(st.one_of(patterns, usual_patterns).map(to_text), max_size=3, unique=True).map(tuple)
_modules = st.builds(
    Module,
    name=_names,
    path=st.one_of(st.none(), st.sampled_from(["a.ko", "kernel/é.ko.xz"])),
    depends=_needs,
    softdeps=st.builds(SoftDeps, _words, _words),
    weakdeps=_words,
    aliases=_aliases,
    firmware=_words,
)
catalogs = st.lists(_modules, max_size=4, unique_by=lambda module: module.name).map(tuple).map(Catalog)

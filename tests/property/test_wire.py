"""meta.pb read lazily, over generated and damaged files."""

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.catalog import Catalog
from kmodkit.core.names import to_bytes
from kmodkit.errors import KmodError
from kmodkit.meta.codec import decode, encode
from kmodkit.meta.wire import WireCatalog
from tests import mutate
from tests.property.strategies import catalogs, texts


@given(catalogs, st.lists(texts, max_size=6))
def test_answers_are_those_of_the_catalog(catalog: Catalog, candidates: list[bytes]) -> None:
    """Every lookup, by module and by device, and in the end all of it."""
    wire = WireCatalog(encode(catalog))
    for text in (*candidates, *(to_bytes(alias) for module in catalog for alias in module.aliases)):
        for builtin in (False, True):
            expected = [module.name for module in catalog.lookup(text, builtin=builtin)]
            assert [module.name for module in wire.lookup(text, builtin=builtin)] == expected
    for module in catalog:
        found = wire[module.name]
        assert (found.path, found.depends, found.softdeps) == (module.path, module.depends, module.softdeps)
    assert wire == catalog


def ask(data: bytes) -> None:
    """Ask a file, good or bad, whatever there is to ask."""
    wire = WireCatalog(data)
    for text in ("", "a", "pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00", "usb:v0BDAp8153", "x" * 300):
        wire.lookup(text, builtin=True)
    for name in ("ice", "r8169", "a"):
        wire.get(name)


@given(st.binary(max_size=200))
def test_any_bytes_give_answers_or_a_kmod_error(data: bytes) -> None:
    """Whatever the bytes, nothing but an error of ours comes of them."""
    try:
        ask(data)
    except KmodError as error:
        assert str(error)


def test_damaged_files_give_answers_or_a_kmod_error() -> None:
    """A thousand flips, cuts and splices of good ones."""
    mutate.run(ask, mutate.sample_metadata(), seed=11, cases=range(1000))


@given(catalogs, texts)
def test_what_a_full_decode_takes_is_answered(catalog: Catalog, text: bytes) -> None:
    """A file that decodes never gives an error here."""
    data = encode(catalog)
    decode(data)
    WireCatalog(data).lookup(text, builtin=True)

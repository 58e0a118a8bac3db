"""meta.pb over generated catalogs: nothing is lost, and other readers find the same."""

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.alias import Pattern
from kmodkit.core.catalog import Catalog
from kmodkit.core.names import to_bytes
from kmodkit.errors import KmodError
from kmodkit.meta.codec import _forms, decode, encode
from tests.meta import reference
from tests.property.strategies import catalogs, texts


@given(catalogs)
def test_a_catalog_comes_back_from_meta_pb(catalog: Catalog) -> None:
    """Brackets, bytes that are no UTF-8, unknown dependencies, cycles, built-ins: all as they were."""
    data = encode(catalog)
    again = decode(data)
    assert again == catalog
    assert encode(again) == data


@given(catalogs, st.lists(texts, max_size=6))
def test_the_first_reader_gives_our_answers(catalog: Catalog, candidates: list[bytes]) -> None:
    """A reader by the format's first rules finds every module whose pattern the tree holds, and no other."""
    data = encode(catalog)
    for text in (*candidates, *(to_bytes(alias) for module in catalog for alias in module.aliases)):
        found = {
            module.name
            for module in catalog
            if not module.builtin
            and any(Pattern.parse(alias).matches(text) for alias in module.aliases if _forms(alias))
        }
        assert set(reference.lookup(data, text)) == found
        tree = catalog.pattern_tree()
        everything = {catalog.modules[position].name for position in tree.lookup(text)}
        assert found <= everything


@given(catalogs, texts)
def test_a_catalog_answers_the_same_after_a_round_trip(catalog: Catalog, text: bytes) -> None:
    """Lookups, closures and what is wrong with it do not change on the way through the file."""
    again = decode(encode(catalog))
    assert again.lookup(text, builtin=True) == catalog.lookup(text, builtin=True)
    assert again.unknown_dependencies == catalog.unknown_dependencies
    assert again.cycles() == catalog.cycles()
    for module in catalog:
        assert answer(again, module.name) == answer(catalog, module.name)


def answer(catalog: Catalog, name: str) -> object:
    """Return the closure of a module, or the error that there is none."""
    try:
        order = catalog.closure([name], weak=True, builtin=True)
    except KmodError as error:
        return str(error)
    place = {module.name: position for position, module in enumerate(order)}
    assert len(place) == len(order)
    for module in order:
        assert all(place[need] < place[module.name] for need in module.depends)
    return order


@given(st.binary(max_size=200))
def test_any_bytes_are_a_catalog_or_a_kmod_error(data: bytes) -> None:
    """Whatever the bytes, nothing but an error of ours comes of them."""
    try:
        decode(data)
    except KmodError as error:
        assert str(error)

"""Frozen values that compare by value, as `dataclasses` makes them, for what starts often.

Importing `dataclasses` takes longer than Python takes to start, `typing` half of that, and making a class with
either a good part of a millisecond. So modules on the way of such commands take `dataclass`, `field` and
`NamedTuple` from here, with the same words, and type checkers see the standard library's. What they leave out is
what is not used here: classes that can change, ordering, and default factories.

A class made by `dataclass` is one to `dataclasses.fields`, `replace`, `asdict` and `is_dataclass`, for which that
module is imported when they ask.
"""

from __future__ import annotations

from operator import itemgetter

try:
    # What `collections` makes its named tuples with, where it is there.
    from _collections import _tuplegetter  # type: ignore[import-not-found]
except ImportError:

    def _tuplegetter(at: int, doc: str) -> property:
        return property(itemgetter(at), doc=doc)


TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")


class _Field:
    """One field: its default, if any, and what it takes part in."""

    __slots__ = ("annotation", "compare", "default", "init", "repr")

    def __init__(self, default: object, *, init: bool, repr: bool, compare: bool) -> None:  # noqa: A002
        self.default = default
        self.init = init
        self.repr = repr
        self.compare = compare
        self.annotation = ""


_MISSING = object()


def field(
    *,
    default: object = _MISSING,
    init: bool = True,
    repr: bool = True,  # noqa: A002 - the words are those of `dataclasses`
    compare: bool = True,
) -> Any:
    """Say more of a field than its default, as `dataclasses.field` does."""
    return _Field(default, init=init, repr=repr, compare=compare)


def dataclass(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class of annotated fields a frozen one with slots, as `dataclasses.dataclass` does."""
    assert frozen and slots  # noqa: S101 - the words are there so that the two decorators are one

    def wrap(cls: type[T]) -> type[T]:
        made: type[T] = _made(cls, kw_only=kw_only)
        return made

    return wrap


def _made(cls: type, *, kw_only: bool) -> Any:
    fields: dict[str, _Field] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(base.__dict__.get("__value_fields__", {}))
    members = dict(cls.__dict__)
    own: list[str] = []
    for name, annotation in members.get("__annotations__", {}).items():
        if annotation.startswith("ClassVar"):
            continue
        given = members.pop(name, _MISSING)
        found = given if isinstance(given, _Field) else _Field(given, init=True, repr=True, compare=True)
        found.annotation = annotation
        own += [] if name in fields else [name]
        fields[name] = found
    for name in ("__dict__", "__weakref__"):
        members.pop(name, None)
    compared = tuple(name for name, one in fields.items() if one.compare)
    shown = tuple(name for name, one in fields.items() if one.repr)
    given_ones = tuple(name for name, one in fields.items() if one.init)
    members |= {
        "__slots__": tuple(own),
        "__value_fields__": fields,
        "__match_args__": () if kw_only else given_ones,
        "__dataclass_fields__": _Twin("__dataclass_fields__", kw_only=kw_only),
        "__dataclass_params__": _Twin("__dataclass_params__", kw_only=kw_only),
        "__setattr__": _refuse_set,
        "__delattr__": _refuse_delete,
    }
    members.setdefault("__repr__", _repr_of(shown))
    if "__eq__" not in members:
        members["__eq__"] = _eq_of(compared)
        members.setdefault("__hash__", _hash_of(compared))
    members.setdefault("__getstate__", _getstate_of(tuple(fields)))
    members.setdefault("__setstate__", _setstate_of(tuple(fields)))
    made: Any = type(cls)(cls.__name__, cls.__bases__, members)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _init_of(made, fields, kw_only=kw_only)
    return made


def _init_of(cls: type, fields: dict[str, _Field], *, kw_only: bool) -> Callable[..., None]:
    # Written as source, as `dataclasses` does: a call with keywords is then as quick as of any function. A slot's
    # own setter takes a third less than object.__setattr__.
    names: dict[str, object] = {}
    words: list[str] = ["self"] + (["*"] if kw_only else [])
    body: list[str] = []
    for name, one in fields.items():
        if not one.init:
            continue
        words.append(name)
        if one.default is not _MISSING:
            names[f"_default_{name}"] = one.default
            words[-1] += f"=_default_{name}"
        names[f"_set_{name}"] = getattr(cls, name).__set__
        body.append(f" _set_{name}(self, {name})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    exec(f"def __init__({', '.join(words)}):\n" + "\n".join(body or [" pass"]), names)  # noqa: S102 - our own words
    init: Any = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {name: one.annotation for name, one in fields.items() if one.init} | {"return": "None"}
    made: Callable[..., None] = init
    return made


class _Twin:
    """An attribute of `dataclasses`, taken from a class of the same fields that it makes when it is asked for."""

    def __init__(self, attribute: str, *, kw_only: bool) -> None:
        self._attribute = attribute
        self._kw_only = kw_only

    def __get__(self, _: object, owner: type) -> object:
        import dataclasses

        fields: dict[str, _Field] = owner.__value_fields__  # type: ignore[attr-defined]
        members: dict[str, object] = {"__annotations__": {name: one.annotation for name, one in fields.items()}}
        for name, one in fields.items():
            words = {"init": one.init, "repr": one.repr, "compare": one.compare}
            if one.default is not _MISSING:
                words["default"] = one.default  # type: ignore[assignment]
            members[name] = dataclasses.field(**words)  # type: ignore[call-overload]
        twin: type = dataclasses.dataclass(frozen=True, kw_only=self._kw_only)(type(owner.__name__, (), members))
        return getattr(twin, self._attribute)


def _refuse_set(_self: object, name: str, _value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _repr_of(names: tuple[str, ...]) -> Callable[[object], str]:
    def show(self: object) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{type(self).__qualname__}({shown})"

    return show


def _eq_of(names: tuple[str, ...]) -> Callable[[object, object], bool]:
    def eq(self: object, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented  # type: ignore[no-any-return]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    return eq


def _hash_of(names: tuple[str, ...]) -> Callable[[object], int]:
    def hash_of(self: object) -> int:
        return hash(tuple([getattr(self, name) for name in names]))

    return hash_of


def _getstate_of(names: tuple[str, ...]) -> Callable[[object], list[object]]:
    def getstate(self: object) -> list[object]:
        return [getattr(self, name) for name in names]

    return getstate


def _setstate_of(names: tuple[str, ...]) -> Callable[[object, list[object]], None]:
    def setstate(self: object, state: list[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return setstate


# --- tuples with names --------------------------------------------------------------------------------------


class _NamedTupleType(type):
    """Makes a class of annotated fields a tuple of them."""

    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> _NamedTupleType:
        fields = tuple(members.get("__annotations__", {}))
        defaults = {field: members.pop(field) for field in fields if field in members}
        members["__slots__"] = ()
        if fields:
            members |= {field: _tuplegetter(at, "") for at, field in enumerate(fields)}
            members |= {"_fields": fields, "_field_defaults": defaults, "__match_args__": fields}
            names: dict[str, Any] = {f"_default_{field}": value for field, value in defaults.items()}
            words = [f"{field}=_default_{field}" if field in defaults else field for field in fields]
            source = f"def __new__(_cls, {', '.join(words)}):\n return _new(_cls, ({', '.join(fields)},))"
            made: dict[str, Any] = {}
            exec(source, names | {"_new": tuple.__new__}, made)  # noqa: S102 - our own words
            members["__new__"] = made["__new__"]
            made["__new__"].__qualname__ = f"{name}.__new__"
        return super().__new__(cls, name, bases, members)


class NamedTuple(tuple, metaclass=_NamedTupleType):  # type: ignore[type-arg]
    """A tuple whose fields have names, as `typing.NamedTuple` makes it, with what is used of that here."""

    _fields: tuple[str, ...] = ()

    @classmethod
    def _make(cls, values: Iterable[object]) -> NamedTuple:
        made: NamedTuple = tuple.__new__(cls, values)
        if len(made) != len(cls._fields):
            raise TypeError(f"expected {len(cls._fields)} values, got {len(made)}")
        return made

    def _replace(self, **changes: object) -> NamedTuple:
        made = self._make(changes.pop(name, value) for name, value in zip(self._fields, self, strict=True))
        if changes:
            raise ValueError(f"got unexpected field names: {[*changes]!r}")
        return made

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self) -> tuple[object, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        shown = ", ".join([f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)])
        return f"{type(self).__name__}({shown})"

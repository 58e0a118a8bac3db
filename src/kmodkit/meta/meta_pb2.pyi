from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Module(_message.Message):
    __slots__ = ("name", "path", "depends", "depends_names", "softdep_pre", "softdep_post", "weakdep", "firmware", "alias_verbatim", "alias_rank")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_NAMES_FIELD_NUMBER: _ClassVar[int]
    SOFTDEP_PRE_FIELD_NUMBER: _ClassVar[int]
    SOFTDEP_POST_FIELD_NUMBER: _ClassVar[int]
    WEAKDEP_FIELD_NUMBER: _ClassVar[int]
    FIRMWARE_FIELD_NUMBER: _ClassVar[int]
    ALIAS_VERBATIM_FIELD_NUMBER: _ClassVar[int]
    ALIAS_RANK_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    depends: _containers.RepeatedScalarFieldContainer[int]
    depends_names: _containers.RepeatedScalarFieldContainer[bytes]
    softdep_pre: _containers.RepeatedScalarFieldContainer[bytes]
    softdep_post: _containers.RepeatedScalarFieldContainer[bytes]
    weakdep: _containers.RepeatedScalarFieldContainer[bytes]
    firmware: _containers.RepeatedScalarFieldContainer[bytes]
    alias_verbatim: _containers.RepeatedScalarFieldContainer[bytes]
    alias_rank: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., depends: _Optional[_Iterable[int]] = ..., depends_names: _Optional[_Iterable[bytes]] = ..., softdep_pre: _Optional[_Iterable[bytes]] = ..., softdep_post: _Optional[_Iterable[bytes]] = ..., weakdep: _Optional[_Iterable[bytes]] = ..., firmware: _Optional[_Iterable[bytes]] = ..., alias_verbatim: _Optional[_Iterable[bytes]] = ..., alias_rank: _Optional[_Iterable[int]] = ...) -> None: ...

class RadixNode(_message.Message):
    __slots__ = ("type", "literal", "start_byte", "end_byte", "children", "module_index")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LITERAL: _ClassVar[RadixNode.Type]
        WILDCARD: _ClassVar[RadixNode.Type]
        SINGLE_WILDCARD: _ClassVar[RadixNode.Type]
        BYTE_RANGE: _ClassVar[RadixNode.Type]
        ROOT: _ClassVar[RadixNode.Type]
    LITERAL: RadixNode.Type
    WILDCARD: RadixNode.Type
    SINGLE_WILDCARD: RadixNode.Type
    BYTE_RANGE: RadixNode.Type
    ROOT: RadixNode.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    LITERAL_FIELD_NUMBER: _ClassVar[int]
    START_BYTE_FIELD_NUMBER: _ClassVar[int]
    END_BYTE_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    MODULE_INDEX_FIELD_NUMBER: _ClassVar[int]
    type: RadixNode.Type
    literal: str
    start_byte: int
    end_byte: int
    children: _containers.RepeatedCompositeFieldContainer[RadixNode]
    module_index: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, type: _Optional[_Union[RadixNode.Type, str]] = ..., literal: _Optional[str] = ..., start_byte: _Optional[int] = ..., end_byte: _Optional[int] = ..., children: _Optional[_Iterable[_Union[RadixNode, _Mapping]]] = ..., module_index: _Optional[_Iterable[int]] = ...) -> None: ...

class Meta(_message.Message):
    __slots__ = ("modules", "module_device_matches", "outside")
    MODULES_FIELD_NUMBER: _ClassVar[int]
    MODULE_DEVICE_MATCHES_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    modules: _containers.RepeatedCompositeFieldContainer[Module]
    module_device_matches: RadixNode
    outside: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, modules: _Optional[_Iterable[_Union[Module, _Mapping]]] = ..., module_device_matches: _Optional[_Union[RadixNode, _Mapping]] = ..., outside: _Optional[_Iterable[int]] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FSSpec(_message.Message):
    __slots__ = ("file", "directory", "symbolic_link", "special_file")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    SYMBOLIC_LINK_FIELD_NUMBER: _ClassVar[int]
    SPECIAL_FILE_FIELD_NUMBER: _ClassVar[int]
    file: _containers.RepeatedCompositeFieldContainer[File]
    directory: _containers.RepeatedCompositeFieldContainer[Directory]
    symbolic_link: _containers.RepeatedCompositeFieldContainer[SymbolicLink]
    special_file: _containers.RepeatedCompositeFieldContainer[SpecialFile]
    def __init__(self, file: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., directory: _Optional[_Iterable[_Union[Directory, _Mapping]]] = ..., symbolic_link: _Optional[_Iterable[_Union[SymbolicLink, _Mapping]]] = ..., special_file: _Optional[_Iterable[_Union[SpecialFile, _Mapping]]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "source_path", "mode", "uid", "gid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: str
    source_path: str
    mode: int
    uid: int
    gid: int
    def __init__(self, path: _Optional[str] = ..., source_path: _Optional[str] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class Directory(_message.Message):
    __slots__ = ("path", "mode", "uid", "gid")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: str
    mode: int
    uid: int
    gid: int
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

class SymbolicLink(_message.Message):
    __slots__ = ("path", "target_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TARGET_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    target_path: str
    def __init__(self, path: _Optional[str] = ..., target_path: _Optional[str] = ...) -> None: ...

class SpecialFile(_message.Message):
    __slots__ = ("path", "type", "major", "minor", "mode", "uid", "gid")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHARACTER_DEV: _ClassVar[SpecialFile.Type]
        BLOCK_DEV: _ClassVar[SpecialFile.Type]
        FIFO: _ClassVar[SpecialFile.Type]
    CHARACTER_DEV: SpecialFile.Type
    BLOCK_DEV: SpecialFile.Type
    FIFO: SpecialFile.Type
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    path: str
    type: SpecialFile.Type
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    def __init__(self, path: _Optional[str] = ..., type: _Optional[_Union[SpecialFile.Type, str]] = ..., major: _Optional[int] = ..., minor: _Optional[int] = ..., mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ...) -> None: ...

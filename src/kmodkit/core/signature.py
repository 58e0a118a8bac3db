"""The signature appended to a module.

A signed module is the ELF file, the signature, a 12-byte ``struct module_signature`` and a magic text of 28
bytes (include/linux/module_signature.h, scripts/sign-file.c). Recent kernels sign with PKCS#7 and leave
all fields of the struct but the type and the length zero; older ones name the signer and the key there.
"""

from __future__ import annotations

from struct import Struct

from kmodkit.errors import SignatureError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import Any, Final

    from kmodkit.core.elf import Read
else:
    from kmodkit.core.values import dataclass

MAGIC: Final = b"~Module signature appended~\n"
_TRAILER = Struct(">BBBBB3xI")  # algo hash id_type signer_len key_id_len sig_len
_TYPES: Final = ("PGP", "X509", "PKCS#7")
_HASHES: Final = ("md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224")
_ALGORITHMS: Final = ("DSA", "RSA")
# A PKCS#7 message with certificates is a few KiB.
MAX_SIGNATURE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """An appended signature, as the module carries it; nothing is verified.

    ``blob`` is the PKCS#7 message or, in the older form, the bare signature. ``offset`` is where the module
    proper ends, in bytes.
    """

    type: str
    offset: int
    blob: bytes
    signer: str = ""
    key_id: bytes = b""
    hash_algorithm: str = ""
    algorithm: str = ""

    def details(self) -> Signature:
        """Return the signature with what a PKCS#7 message says filled in.

        That is the common name of the issuer as ``signer``, the certificate's serial number as ``key_id``,
        the digest and signature algorithms, and the bare signature as ``blob``. Other types are returned as
        they are. Raises SignatureError where the message cannot be read.
        """
        return _read_pkcs7(self) if self.type == "PKCS#7" else self


def read_signature(read: Read, file_size: int) -> Signature | None:
    """Return the signature appended to a module of ``file_size`` bytes, None where there is none.

    Raises SignatureError where the trailer does not fit the file.
    """
    end = file_size - len(MAGIC) - _TRAILER.size
    if end < 0 or read(file_size - len(MAGIC), len(MAGIC)) != MAGIC:
        return None
    algorithm, digest, kind, signer_size, key_size, size = _TRAILER.unpack(read(end, _TRAILER.size))
    start = end - size - signer_size - key_size
    if start < 0:
        raise SignatureError(f"signature of {size} bytes is larger than the file", offset=end)
    if size > MAX_SIGNATURE:
        raise SignatureError(f"signature of {size} bytes is over the limit of {MAX_SIGNATURE}", offset=end)
    if kind >= len(_TYPES):
        raise SignatureError(f"unknown signature type {kind}", offset=end + 2)
    data = read(start, end - start)
    if kind == _TYPES.index("PKCS#7"):
        return Signature("PKCS#7", start, data[signer_size + key_size :])
    return Signature(
        _TYPES[kind],
        start,
        data[signer_size + key_size :],
        data[:signer_size].decode("utf-8", "surrogateescape"),
        data[signer_size : signer_size + key_size],
        _name(_HASHES, digest, end + 1),
        _name(_ALGORITHMS, algorithm, end),
    )


def _name(names: tuple[str, ...], index: int, offset: int) -> str:
    if index >= len(names):
        raise SignatureError(f"unknown algorithm {index}", offset=offset)
    return names[index]


def _read_pkcs7(signature: Signature) -> Signature:
    # asn1crypto takes 40 ms to import, which only whoever asks for the details should pay.
    from asn1crypto import cms

    try:
        content = cms.ContentInfo.load(signature.blob)
        info: Any = content["content"]["signer_infos"][0]
        issuer = info["sid"].chosen
        serial: int = issuer["serial_number"].native
        names = issuer["issuer"].native
        digest: str = info["digest_algorithm"]["algorithm"].native
        algorithm: str = info["signature_algorithm"]["algorithm"].native
        blob: bytes = info["signature"].native
        signer = str(names.get("common_name", ""))
        key_id = serial.to_bytes((serial.bit_length() + 8) // 8, "big", signed=True)
    # asn1crypto's promise on bad input is ValueError and TypeError, but its lazy fields also raise these.
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise SignatureError(f"PKCS#7 message cannot be read: {error}", offset=signature.offset) from error
    return Signature(
        signature.type,
        signature.offset,
        blob,
        signer,
        key_id,
        digest,
        algorithm,
    )

"""The signature appended to a module: its trailer, and what a PKCS#7 message says."""

import pytest
from asn1crypto import algos, cms, x509

from kmodkit.core.signature import MAGIC, MAX_SIGNATURE, Signature, read_signature
from kmodkit.errors import SignatureError
from kmodkit.testing import AppendedSignature, ModuleBuilder


def read(data: bytes) -> Signature | None:
    """Return the signature of a module in memory."""
    return read_signature(lambda offset, size: data[offset : offset + size], len(data))


def pkcs7(*, name: str = "Test key", serial: int = 0x1F2E3D, key_id: bytes | None = None) -> bytes:
    """Return a message like those of the kernel's sign-file: one signer, no certificates, no content."""
    issuer = x509.Name.build({"common_name": name})
    signer = (
        cms.SignerIdentifier("subject_key_identifier", key_id)
        if key_id is not None
        else cms.SignerIdentifier(
            "issuer_and_serial_number", cms.IssuerAndSerialNumber({"issuer": issuer, "serial_number": serial})
        )
    )
    digest = algos.DigestAlgorithm({"algorithm": "sha256"})
    info = cms.SignerInfo(
        {
            "version": "v1",
            "sid": signer,
            "digest_algorithm": digest,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "rsassa_pkcs1v15"}),
            "signature": b"\xaa" * 64,
        }
    )
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [digest],
            "encap_content_info": {"content_type": "data"},
            "signer_infos": [info],
        }
    )
    data: bytes = cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump()
    return data


PLAIN = ModuleBuilder("a").build()


def test_a_module_without_one_has_no_signature() -> None:
    """Most modules are not signed, which is no error."""
    assert read(PLAIN) is None
    assert read(b"") is None
    assert read(MAGIC) is None


def test_the_trailer_tells_where_the_module_ends() -> None:
    """The offset is the size of the unsigned module, and the blob is what lies behind it."""
    signature = read(ModuleBuilder("a", signature=b"blob").build())
    assert signature == Signature("PKCS#7", len(PLAIN), b"blob")


def test_a_pkcs7_message_is_read() -> None:
    """Signer, serial number, algorithms and the bare signature come out of the message."""
    message = pkcs7()
    signature = read(ModuleBuilder("a", signature=message).build())
    assert signature is not None
    assert signature.blob == message
    assert signature.signer == ""
    details = signature.details()
    assert (details.signer, details.key_id) == ("Test key", bytes.fromhex("1f2e3d"))
    assert (details.hash_algorithm, details.algorithm) == ("sha256", "rsassa_pkcs1v15")
    assert details.blob == b"\xaa" * 64
    assert (details.type, details.offset) == ("PKCS#7", len(PLAIN))


@pytest.mark.parametrize(
    ("serial", "key_id"),
    [(0, "00"), (0x7F, "7f"), (0x80, "0080"), (0xFFFF, "00ffff"), (-1, "ff"), (1 << 159, "00" + "80" + "00" * 19)],
)
def test_serial_numbers_are_the_bytes_of_the_certificate(serial: int, key_id: str) -> None:
    """A serial number is shown as DER has it: signed, so with a zero in front where its top bit is set."""
    signature = Signature("PKCS#7", 0, pkcs7(serial=serial))
    assert signature.details().key_id.hex() == key_id


def test_the_older_form_names_the_signer_in_the_trailer() -> None:
    """Linux 3.7 to 4.2 put the signer, the key and the algorithms beside the bare signature."""
    appended = AppendedSignature(
        blob=b"bare", kind=1, algorithm=1, digest=6, signer=b"Fedora kernel key", key_id=b"\x01\x02"
    )
    signature = read(ModuleBuilder("a", signature=appended).build())
    assert signature == Signature("X509", len(PLAIN), b"bare", "Fedora kernel key", b"\x01\x02", "sha512", "RSA")
    assert signature.details() is signature


@pytest.mark.parametrize(
    ("digest", "name"),
    list(enumerate(["md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224"])),
)
def test_hash_numbers_are_those_of_the_kernel(digest: int, name: str) -> None:
    """The older form numbers its hashes as the kernel's enum hash_algo does."""
    signature = read(ModuleBuilder(signature=AppendedSignature(blob=b"x", kind=0, digest=digest)).build())
    assert signature is not None
    assert (signature.type, signature.hash_algorithm, signature.algorithm) == ("PGP", name, "DSA")


@pytest.mark.parametrize(
    ("appended", "reason", "offset"),
    [
        (AppendedSignature(blob=b"b", size=0xFFFFFFFF), "larger than the file", 0),
        (AppendedSignature(blob=b"b", kind=3), "unknown signature type 3", 2),
        (AppendedSignature(blob=b"b", kind=1, digest=8), "unknown algorithm 8", 1),
        (AppendedSignature(blob=b"b", kind=1, algorithm=2), "unknown algorithm 2", 0),
    ],
)
def test_a_trailer_that_does_not_fit_is_an_error(appended: AppendedSignature, reason: str, offset: int) -> None:
    """The error is at the byte of the trailer that is to blame."""
    with pytest.raises(SignatureError, match=reason) as caught:
        read(ModuleBuilder("a", signature=appended).build())
    assert caught.value.offset == len(PLAIN) + 1 + offset


def test_a_signature_of_more_than_a_mebibyte_is_an_error() -> None:
    """One that fits the file but is out of all proportion is refused before it is read."""
    with pytest.raises(SignatureError, match="over the limit"):
        read(bytes(AppendedSignature(blob=bytes(MAX_SIGNATURE + 1))))


def test_a_trailer_cut_short_is_an_error_or_no_signature() -> None:
    """However much is missing in front, nothing but a SignatureError comes of it."""
    data = ModuleBuilder("a", signature=pkcs7()).build()
    for start in range(len(data)):
        try:
            signature = read(data[start:])
        except SignatureError as error:
            assert "larger than the file" in str(error)
        else:
            assert signature is None or signature.offset == len(PLAIN) - start


def test_the_magic_must_be_at_the_very_end() -> None:
    """As for the kernel, a signature with anything behind it is none."""
    assert read(ModuleBuilder("a", signature=b"x").build() + b"\n") is None


def test_a_message_that_is_no_pkcs7_is_an_error_with_its_offset() -> None:
    """Details of garbage, of nothing and of a truncated message are refused."""
    message = pkcs7()
    for blob in (b"", b"junk", b"\x30\x80", message[:-1], message[: len(message) // 2], b"\x30\x03\x02\x01\x05"):
        with pytest.raises(SignatureError, match="PKCS#7") as caught:
            Signature("PKCS#7", 1234, blob).details()
        assert caught.value.offset == 1234


def test_a_signer_without_a_common_name_is_nameless() -> None:
    """A certificate need not have a common name."""
    message = pkcs7(name="x")
    organization = message.replace(b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x04\x0a")
    assert organization != message
    assert Signature("PKCS#7", 0, organization).details().signer == ""

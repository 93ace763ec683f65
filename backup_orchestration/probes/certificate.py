"""`certificate`: a certificate chains to its authority, belongs to its key, and serves its host names.

Dates are held against the moment the snapshot was taken: an old backup may well hold what has expired since.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import BeforeValidator

from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.frozen import Frozen, tuple_of
from backup_orchestration.core.sources import AbsolutePath
from backup_orchestration.probes.base import Finding, ProbeKind, Restored

_LONGEST_CHAIN = 8
# Ten times a key of 16,384 bits, the longest that OpenSSL uses: checking a monstrous one takes hours.
_KEY_BYTES = 128 << 10
_CERTIFICATES_BYTES = 4 << 20


class CertificateOptions(Frozen):
    """Options of the probe; all paths are absolute paths of the source, in PEM.

    Attributes:
        certificate: the leaf, or a bundle with the leaf first.
        key: its private key, without a passphrase.
        ca: certificates of the authorities that may stand at the end of the chain.
        ca_key: private key of the first of them, where it is part of the backup.
        chain: further certificates between leaf and authority.
        host_names: names that the leaf must serve.
    """

    certificate: AbsolutePath
    key: AbsolutePath
    ca: AbsolutePath
    ca_key: AbsolutePath | None = None
    chain: AbsolutePath | None = None
    host_names: Annotated[tuple[str, ...], BeforeValidator(tuple_of)] = ()


class CertificateProbe(ProbeKind[CertificateOptions]):
    """See the module."""

    name: ClassVar[str] = "certificate"
    sources: ClassVar[tuple[str, ...]] = ("files",)
    options: ClassVar[type[Frozen]] = CertificateOptions

    def check(self, restored: Restored, options: CertificateOptions) -> Finding:
        """See `ProbeKind`."""
        leaf, *between = _certificates(restored, options.certificate)
        authorities = _certificates(restored, options.ca)
        if options.chain is not None:
            between += _certificates(restored, options.chain)
        _require_key(restored, options.key, leaf, options.certificate)
        if options.ca_key is not None:
            _require_key(restored, options.ca_key, authorities[0], options.ca)
        length = _follow(leaf, between, authorities, options.certificate)
        for certificate in (leaf, authorities[0]):
            _require_valid(certificate, restored.snapshot.taken_at)
        _require_names(leaf, options)
        return Finding(
            f"chain of {length} ends in {options.ca.name}, keys match, {len(options.host_names)} host names served",
            {"chain": length, "host_names": len(options.host_names)},
        )


def _certificates(restored: Restored, path: Path) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(restored.read(restored.path(str(path)), _CERTIFICATES_BYTES))
    except ValueError as error:
        raise ProbeFailedError(f"{path} holds no certificate: {error}") from error
    return found


def _require_key(restored: Restored, path: Path, certificate: x509.Certificate, owner: Path) -> None:
    try:
        key = load_pem_private_key(restored.read(restored.path(str(path)), _KEY_BYTES), password=None)
    except (ValueError, TypeError) as error:
        raise ProbeFailedError(f"{path} is no private key without a passphrase: {error}") from error
    if _public(key.public_key()) != _public(certificate.public_key()):
        raise ProbeFailedError(f"{path} is not the key of {owner}")


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _follow(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], path: Path
) -> int:
    """Walk from the leaf to an authority by signatures; returns the number of certificates."""
    current = leaf
    for length in range(2, _LONGEST_CHAIN):
        if any(_issued(current, authority) for authority in authorities):
            return length
        issuer = next((item for item in between if item != current and _issued(current, item)), None)
        if issuer is None:
            break
        current = issuer
    raise ProbeFailedError(f"{path}: the chain is broken: nothing here issued {current.subject.rfc4514_string()}")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _require_valid(certificate: x509.Certificate, moment: datetime) -> None:
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise ProbeFailedError(
            f"{certificate.subject.rfc4514_string()} was valid from {certificate.not_valid_before_utc:%Y-%m-%d} to"
            f" {certificate.not_valid_after_utc:%Y-%m-%d}, not when the snapshot was taken"
        )


def _require_names(leaf: x509.Certificate, options: CertificateOptions) -> None:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        served = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        served = []
    missing = [host for host in options.host_names if not any(_matches(host, pattern) for pattern in served)]
    if missing:
        raise ProbeFailedError(
            f"{options.certificate} does not serve {', '.join(missing)}; it serves {', '.join(served)}"
        )


def _matches(host: str, pattern: str) -> bool:
    """RFC 6125: a wildcard stands for one whole label, the leftmost."""
    host, pattern = host.lower(), pattern.lower()
    if pattern.startswith("*."):
        first, _, rest = host.partition(".")
        return bool(first) and rest == pattern[2:]
    return host == pattern

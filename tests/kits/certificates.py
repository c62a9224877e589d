"""An authority for one test, and a key with a certificate that it signed."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, and of a key and certificate that it signed, for both sides."""

    ca: Path
    key: Path
    certificate: Path


def make_certificates(folder: Path, *names: str) -> Certificates:
    """Signed for host names, the first of which is the common name too; for 127.0.0.1 where none is given."""
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives = alternatives or [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]

    def write(name: str, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    def signed(
        name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, issuer: str
    ) -> bytes:
        def subject(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(
            subject_name=subject(name), issuer_name=subject(issuer), public_key=key.public_key(),
            serial_number=x509.random_serial_number(), not_valid_before=now - datetime.timedelta(hours=1),
            not_valid_after=now + datetime.timedelta(hours=1),
        )  # fmt: skip
        builder = builder.add_extension(
            x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True
        )
        also = x509.SubjectAlternativeName(alternatives)
        done = builder.add_extension(also, critical=False).sign(by, hashes.SHA256())
        return done.public_bytes(serialization.Encoding.PEM)

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificates(
        write("ca.pem", signed("authority", authority, authority, "authority")),
        write("key.pem", own.private_bytes(*form)),
        write("certificate.pem", signed(names[0] if names else "hares", own, authority, "authority")),
    )

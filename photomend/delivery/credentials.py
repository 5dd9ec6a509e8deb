"""Content credentials (C2PA) in delivered copies, by the Content Authenticity Initiative's ``c2pa``; read back.

The manifest says that the source was opened, and what photomend did to it; the source is its ingredient. Nothing is
asked for on the network: no time stamp, no certificate status. Whom a reader trusts is the reader's list to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.delivery.errors import NotDelivered, NotInstalled
from jobs.delivery.rows import OutputFile, Row
from photomend.files import FileRefused, format_of_extension, sha256_of

#: As the manifest's parts refer to the source.
_SOURCE = "source"
_SETTINGS = {
    "verify": {"verify_trust": False, "ocsp_fetch": False, "remote_manifest_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_GOOD = frozenset({"Valid", "Trusted"})
_EC_ALGORITHMS = {256: b"es256", 384: b"es384", 521: b"es512"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Signs pictures of a delivery with one certificate."""

    chain: bytes  #: PEM, the signer's certificate first
    key: bytes  #: PEM, PKCS #8, without a password
    algorithm: bytes  #: C2PA's name of it
    sources: Path  #: the folder that the report's sources lie in
    out: Path  #: the results' folder
    program: str
    version: str

    @classmethod
    def read(cls, certificate: Path, key: Path, **more: Any) -> Credentials:
        """The signer of two PEM files.

        Raises:
            FileRefused: a file cannot be read, or is not what it should be.
            NotInstalled: ``c2pa`` is not there.
        """
        _c2pa()
        try:
            chain, private = certificate.read_bytes(), key.read_bytes()
            return cls(chain=chain, key=private, algorithm=_algorithm(private), **more)
        except OSError as error:
            raise FileRefused("signer_unusable", f"{error.filename}: {error.strerror}.") from error
        except (ValueError, TypeError) as error:
            raise FileRefused("signer_unusable", f"{key} is no PEM key that can be used: {error}.") from error

    def __call__(self, row: Row, output: OutputFile, result: Path, target: Path) -> None:
        """Write a signed copy of a result, and read it back.

        Raises:
            NotDelivered: it cannot be signed, its source is not the report's, or what was written is not valid.
        """
        c2pa, source = _c2pa(), self.sources / row.source.removeprefix("s3://")
        if not source.is_file() or sha256_of(source) != row.source_sha256:
            raise NotDelivered(f"the source {source} is missing or not the one of the report; name its folder")
        try:
            self._sign(c2pa, row, source, result, target)
            self._read_back(c2pa, target)
        except c2pa.C2paError as error:
            raise NotDelivered(f"{output.key} cannot be signed: {error}") from error

    def _sign(self, c2pa: Any, row: Row, source: Path, result: Path, target: Path) -> None:
        info = c2pa.C2paSignerInfo(alg=self.algorithm, sign_cert=self.chain, private_key=self.key, ta_url=None)
        ingredient = {"title": row.source, "relationship": "parentOf", "label": _SOURCE, "instance_id": _SOURCE}
        with (
            c2pa.Context.from_dict(_SETTINGS) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder.from_json(json.dumps(self._manifest(row, result)), context=context) as builder,
            source.open("rb") as parent,
            result.open("rb") as unsigned,
            target.open("x+b") as signed,
        ):
            builder.add_ingredient(json.dumps(ingredient), _type(source), parent)
            builder.sign(signer, _type(result), unsigned, signed)

    def _read_back(self, c2pa: Any, target: Path) -> None:
        told = read(c2pa, target)
        labels = [one["action"] for one in _actions(told)]
        if labels[:1] != ["c2pa.opened"] or len(labels) != 2:
            raise NotDelivered(f"{target.name} says something else than was signed: {labels}")

    def _manifest(self, row: Row, result: Path) -> dict[str, Any]:
        agent = {"name": self.program, "version": self.version}
        source_type = self._source_type(row)
        # Where no network changed a pixel, it is the same picture in other bytes.
        done: dict[str, Any] = {"action": "c2pa.edited" if source_type else "c2pa.transcoded", "softwareAgent": agent}
        if source_type:
            done |= {"digitalSourceType": source_type, "description": _description(row)}
        actions = [{"action": "c2pa.opened", "parameters": {"ingredientIds": [_SOURCE]}}, done]
        return {
            "claim_generator_info": [agent],
            "title": result.name,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }

    def _source_type(self, row: Row) -> str | None:
        record = next((one for one in row.outputs if one.part == "provenance"), None)
        if record is None:
            return None
        words = json.loads((self.out / record.key).read_bytes())
        told: str | None = words["output"]["digital_source_type"]
        return told


def read(c2pa: Any, path: Path) -> dict[str, Any]:
    """What a signed picture says, if its signature and every hash in it hold.

    Raises:
        NotDelivered: they do not.
    """
    with (
        c2pa.Context.from_dict(_SETTINGS) as context,
        path.open("rb") as stream,
        c2pa.Reader(_type(path), stream, context=context) as reader,
    ):
        state, told = reader.get_validation_state(), json.loads(reader.json())
    if state not in _GOOD:
        raise NotDelivered(f"the credentials of {path.name} are {state}")
    manifest: dict[str, Any] = told["manifests"][told["active_manifest"]]
    return manifest


def _actions(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = (one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions"))
    return [action for actions in found for action in actions]


def _description(row: Row) -> str:
    faces = f"{row.faces_restored} of {row.faces_found} faces" if row.faces_restored else "no face"
    return f"AI face reconstruction by {row.model}: {faces}. Recipe SHA-256 {row.recipe_sha256}."


def _type(path: Path) -> str:
    """By the beginning of the file, not by its name: archives have PNG files that are named .jpg."""
    from pipeline.errors import UnreadableImage
    from pipeline.formats import SNIFF_BYTES, sniff

    try:
        with path.open("rb") as stream:
            return sniff(stream.read(SNIFF_BYTES)).content_type
    except UnreadableImage:
        return f"image/{format_of_extension(path) or 'jpeg'}"


def _algorithm(key: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    loaded = load_pem_private_key(key, password=None)
    if isinstance(loaded, ec.EllipticCurvePrivateKey):
        return _EC_ALGORITHMS[loaded.key_size]
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return b"ed25519"
    if isinstance(loaded, rsa.RSAPrivateKey):
        return b"ps256"
    raise ValueError(f"{type(loaded).__name__} is not one that C2PA has")


def _c2pa() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise NotInstalled("content credentials are made by c2pa-python: pip install 'photomend[c2pa]'") from error
    return c2pa

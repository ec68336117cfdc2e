"""How the scripted VTN signs: detached XML signatures over the signed object with a replay protection, and forgeries of them."""

import copy
import secrets
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

from gateway.domain.errors import InvalidInput
from gateway.sandbox.vtn20b_writing import NAMESPACES

_PROPERTIES = "http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties"
_SIGNED_OBJECT = f"{{{NAMESPACES['oadr']}}}oadrSignedObject"


class VtnSigner:
    """Signs with one key.

    Args:
        certificate: PEM text.
        key: PEM text of an elliptic-curve key, not encrypted.

    Raises:
        InvalidInput: The key is of another kind or cannot be read.
    """

    def __init__(self, certificate: str, key: str) -> None:
        try:
            loaded = load_pem_private_key(key.encode(), password=None)
        except ValueError as error:
            raise InvalidInput("signing.key", "must be a PEM key") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise InvalidInput("signing.key", "must be an elliptic-curve key")
        self._key, self._certificate = loaded, certificate

    def signed(self, message: bytes, now: datetime) -> bytes:
        """Return the message with a signature of this instant."""
        root = etree.fromstring(message)
        signer = XMLSigner(
            method=SignatureConstructionMethod.detached,
            signature_algorithm=SignatureMethod.ECDSA_SHA256,
            digest_algorithm=DigestAlgorithm.SHA256,
            c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        )
        signer.namespaces.update(NAMESPACES)
        properties = etree.Element(f"{{{_PROPERTIES}}}ReplayProtect", nsmap={"dsp": _PROPERTIES})
        stamp = etree.SubElement(properties, f"{{{_PROPERTIES}}}timestamp")
        stamp.text = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        etree.SubElement(properties, f"{{{_PROPERTIES}}}nonce").text = secrets.token_hex(16)
        signature = signer.sign(
            root,
            key=self._key,
            cert=self._certificate,
            reference_uri="#oadrSignedObject",
            signature_properties=properties,
        )
        root.insert(0, signature)
        return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def forged(signed: bytes, other: bytes) -> bytes:
    """Return a message whose valid signature covers an object moved aside, while another object stands in its place."""
    root = etree.fromstring(signed)
    true_object = root.find(_SIGNED_OBJECT)
    false_object = etree.fromstring(other).find(_SIGNED_OBJECT)
    if true_object is None or false_object is None:
        raise InvalidInput("message", "has no oadrSignedObject")
    replacement = copy.deepcopy(false_object)
    del replacement.attrib[f"{{{NAMESPACES['oadr']}}}Id"]
    root.replace(true_object, replacement)
    root[0].append(_hidden(true_object))
    return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def _hidden(element: etree._Element) -> etree._Element:
    """Return a ds:Object that holds the element: the one place in a signature where the schema allows anything."""
    holder = etree.Element("{http://www.w3.org/2000/09/xmldsig#}Object")
    holder.append(element)
    return holder

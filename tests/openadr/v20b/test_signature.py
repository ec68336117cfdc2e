"""Signatures: what was verified is what is read, and everything else has a reason of its own."""

import copy
import time
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.codec import encode
from gateway.openadr.v20b.guard import GuardPolicy, SignaturePolicy, check
from gateway.openadr.v20b.names import DS, EI, OADR, SIGNED_OBJECT
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.rejection import MessageRejected, Reason
from gateway.openadr.v20b.signature import MessageSigner, verify
from gateway.openadr.v20b.wire import Poll
from gateway.openadr.v20b.wire_events import DistributeEvent
from tests.openadr.v20b import messages, signing

NOW = signing.NOW
VTN = signing.make_identity()
OTHER = signing.make_identity(name="other")
REQUIRED = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({VTN.fingerprint}))
MESSAGE = messages.distribute_event(messages.event("TRUE"))


def rejected(body: bytes, policy: GuardPolicy = REQUIRED, now: datetime = NOW) -> Reason:
    with pytest.raises(MessageRejected) as caught:
        check(body, policy, now)
    return caught.value.why


def event_ids(body: bytes, policy: GuardPolicy = REQUIRED) -> list[str]:
    message = read(body, policy, NOW).message
    assert isinstance(message, DistributeEvent)
    return [event.event_id for event in message.events]


@pytest.mark.parametrize("use_rsa", [False, True])
def test_a_signed_message_is_read_and_marked(use_rsa: bool) -> None:
    signer = signing.make_identity(use_rsa=use_rsa)
    for pin in (signer.fingerprint, signer.full_fingerprint):
        policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({pin, OTHER.fingerprint}))
        answer = read(signing.sign(MESSAGE, signer), policy, NOW)
        assert isinstance(answer.message, DistributeEvent)
        assert answer.mark is not None
        assert (answer.mark.nonce, answer.mark.timestamp) == ("nonce-1", NOW)


def test_what_is_read_is_the_copy_that_was_digested() -> None:
    checked = check(signing.sign(MESSAGE, VTN), REQUIRED, NOW)
    assert checked.signed_object.tag == SIGNED_OBJECT
    assert checked.signed_object.getparent() is None


def test_hostile_a11_unsigned_counts_only_where_it_may() -> None:
    assert rejected(MESSAGE) is Reason.UNSIGNED
    optional = GuardPolicy(signature=SignaturePolicy.OPTIONAL, fingerprints=REQUIRED.fingerprints)
    assert event_ids(MESSAGE, optional) == ["TRUE"]
    assert event_ids(MESSAGE, GuardPolicy()) == ["TRUE"]
    assert rejected(signing.sign(MESSAGE, OTHER), optional) is Reason.WRONG_SIGNER


def test_a_changed_message_does_not_hold() -> None:
    assert rejected(signing.sign(MESSAGE, VTN).replace(b"TRUE", b"EVIL")) is Reason.BAD_SIGNATURE


def forged_object(root: etree._Element) -> etree._Element:
    """Return a copy of the signed object that says something else, without the id that was signed."""
    forged = copy.deepcopy(root.find(SIGNED_OBJECT))
    assert forged is not None
    next(forged.iter(EI + "eventID")).text = "EVIL"
    del forged.attrib[OADR + "Id"]
    return forged


def wrap_in_signature_object(root: etree._Element) -> None:
    """Hide the signed object inside ds:Object and put a forged one where it was."""
    forged, true = forged_object(root), root.find(SIGNED_OBJECT)
    assert true is not None
    root.replace(true, forged)
    etree.SubElement(root[0], DS + "Object").append(true)


def wrap_beside(root: etree._Element) -> None:
    """Put the forged object before the signed one."""
    root.insert(1, forged_object(root))


def wrap_after(root: etree._Element) -> None:
    """Put the forged object after the signed one."""
    root.append(forged_object(root))


def wrap_in_other_namespace(root: etree._Element) -> None:
    """Hide the signed object under an element of a namespace nobody knows."""
    forged, true = forged_object(root), root.find(SIGNED_OBJECT)
    assert true is not None
    root.replace(true, forged)
    holder = etree.SubElement(etree.SubElement(root[0], DS + "Object"), "{urn:x}keep", nsmap={"oadr": "urn:other"})
    holder.append(true)


def wrap_renamed(root: etree._Element) -> None:
    """Keep the signed id on another element name inside ds:Object; forge the real one."""
    forged, true = forged_object(root), root.find(SIGNED_OBJECT)
    assert true is not None
    root.replace(true, forged)
    true.tag = "{urn:x}oadrSignedObject"
    etree.SubElement(root[0], DS + "Object").append(true)


@pytest.mark.parametrize(
    "spoil", [wrap_in_signature_object, wrap_beside, wrap_after, wrap_in_other_namespace, wrap_renamed]
)
def test_hostile_a10_a_wrapped_signature_is_rejected(spoil: object) -> None:
    body = signing.sign(MESSAGE, VTN, spoil=spoil)  # type: ignore[arg-type]
    assert rejected(body) in {Reason.NOT_ONE_OBJECT, Reason.NOT_VALID, Reason.BAD_SIGNATURE, Reason.WRAPPED}


@pytest.mark.parametrize("prefix", ["oadr", "x", "Signature"])
@pytest.mark.parametrize("place", ["SignedInfo", "KeyInfo", "Object", "SignatureValue"])
def test_hostile_a10_a_moved_object_is_rejected_wherever_it_hides_and_however_it_is_called(
    place: str, prefix: str
) -> None:
    def spoil(root: etree._Element) -> None:
        forged, true = forged_object(root), root.find(SIGNED_OBJECT)
        assert true is not None
        root.replace(true, forged)
        holder = root[0].find(DS + place)
        if holder is None:
            holder = etree.SubElement(root[0], DS + place)
        keep = etree.SubElement(holder, f"{{urn:{prefix}}}keep", nsmap={prefix: f"urn:{prefix}"})
        keep.append(true)

    body = signing.sign(MESSAGE, VTN, spoil=spoil)
    assert b"EVIL" in body
    assert rejected(body) in {Reason.NOT_ONE_OBJECT, Reason.NOT_VALID}


def test_hostile_a10_a_signature_over_something_else_is_rejected() -> None:
    def add_decoy(root: etree._Element) -> None:
        etree.SubElement(root, DS + "Object", {"Id": "decoy"}, nsmap={"ds": DS[1:-1]}).text = "signed"

    def hide_decoy(root: etree._Element) -> None:
        root[0].append(root[-1])

    body = signing.sign(MESSAGE, VTN, prepare=add_decoy, reference="#decoy", spoil=hide_decoy)
    assert rejected(body) is Reason.WRAPPED


def test_the_verifier_vouches_for_no_element_but_the_one_it_digested() -> None:
    root = etree.fromstring(signing.sign(MESSAGE, VTN))
    with pytest.raises(MessageRejected) as caught:
        verify(root, forged_object(root), REQUIRED.fingerprints, REQUIRED.clock_skew, NOW)
    assert caught.value.why is Reason.WRAPPED


def test_a_reference_cannot_be_left_out() -> None:
    def sign_only_the_properties(root: etree._Element) -> None:
        info = root.find(f"{DS}Signature/{DS}SignedInfo")
        assert info is not None
        info.remove(next(info.iter(DS + "Reference")))

    assert rejected(signing.sign(MESSAGE, VTN, spoil=sign_only_the_properties)) is Reason.BAD_SIGNATURE


def test_hostile_a11_two_signatures_are_rejected() -> None:
    def sign_twice(root: etree._Element) -> None:
        second = copy.deepcopy(root[0])
        for element in second.iter():
            element.attrib.pop("Id", "")
        etree.SubElement(root[0], DS + "Object").append(second)

    assert rejected(signing.sign(MESSAGE, VTN, spoil=sign_twice)) is Reason.SEVERAL_SIGNATURES


def test_hostile_a11_another_signer_is_rejected() -> None:
    assert rejected(signing.sign(MESSAGE, OTHER)) is Reason.WRONG_SIGNER


def test_hostile_a11_another_certificate_of_the_same_authority_is_rejected() -> None:
    authority = signing.make_identity(name="authority")
    ours, theirs = (signing.make_identity(name=name, issuer=authority) for name in ("vtn", "neighbour"))
    policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({ours.fingerprint}))
    assert event_ids(signing.sign(MESSAGE, ours), policy) == ["TRUE"]
    assert rejected(signing.sign(MESSAGE, theirs), policy) is Reason.WRONG_SIGNER


def test_hostile_a11_the_pinned_certificate_with_another_key_is_rejected() -> None:
    assert rejected(signing.sign(MESSAGE, VTN, key=OTHER.key)) is Reason.BAD_SIGNATURE


def test_hostile_a11_a_certificate_that_is_not_valid_now_is_rejected() -> None:
    for starts in (NOW - timedelta(days=60), NOW + timedelta(days=1)):
        signer = signing.make_identity(starts=starts)
        policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({signer.fingerprint}))
        assert rejected(signing.sign(MESSAGE, signer), policy) is Reason.CERTIFICATE_EXPIRED


def test_a_certificate_that_cannot_be_read_is_no_certificate() -> None:
    def spoil(root: etree._Element) -> None:
        next(root.iter(DS + "X509Certificate")).text = "AAAA"

    assert rejected(signing.sign(MESSAGE, VTN, spoil=spoil)) is Reason.WRONG_SIGNER


@pytest.mark.parametrize(
    ("method", "digest"),
    [
        (SignatureMethod.RSA_SHA1, DigestAlgorithm.SHA256),
        (SignatureMethod.RSA_SHA256, DigestAlgorithm.SHA1),
    ],
)
def test_hostile_a11_weak_algorithms_are_rejected(method: SignatureMethod, digest: DigestAlgorithm) -> None:
    signer = signing.make_identity(use_rsa=True)
    policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({signer.fingerprint}))
    assert rejected(signing.sign(MESSAGE, signer, method=method, digest=digest), policy) is Reason.WEAK_ALGORITHM


def test_hostile_a11_an_hmac_with_the_public_key_is_rejected() -> None:
    def show_the_certificate(root: etree._Element) -> None:
        info = etree.Element(DS + "KeyInfo")
        data = etree.SubElement(etree.SubElement(info, DS + "X509Data"), DS + "X509Certificate")
        data.text = "".join(VTN.certificate_pem.decode().splitlines()[1:-1])
        root[0].insert(2, info)

    key = signing.public_key_bytes(VTN)
    body = signing.sign(MESSAGE, VTN, method=SignatureMethod.HMAC_SHA256, key=key, spoil=show_the_certificate)
    assert rejected(body) is Reason.WEAK_ALGORITHM


def test_canonicalization_that_keeps_comments_is_rejected() -> None:
    body = signing.sign(MESSAGE, VTN, canonical=CanonicalizationMethod.CANONICAL_XML_1_0_WITH_COMMENTS)
    assert rejected(body) is Reason.WEAK_ALGORITHM


@pytest.mark.parametrize(
    ("timestamp", "why"),
    [
        ("2025-10-15T07:59:29Z", Reason.OUTSIDE_CLOCK_WINDOW),
        ("2025-10-15T08:00:31Z", Reason.OUTSIDE_CLOCK_WINDOW),
        ("2025-10-15T08:10:00Z", Reason.OUTSIDE_CLOCK_WINDOW),
        ("2035-10-15T08:00:00Z", Reason.OUTSIDE_CLOCK_WINDOW),
        ("2025-10-15T08:00:00", Reason.NO_REPLAY_PROTECTION),
        ("2016-12-31T23:59:60Z", Reason.NO_REPLAY_PROTECTION),
        ("yesterday", Reason.NO_REPLAY_PROTECTION),
        ("", Reason.NO_REPLAY_PROTECTION),
        (None, Reason.NO_REPLAY_PROTECTION),
    ],
)
def test_hostile_a13_the_clock_window_is_closed_on_both_sides(timestamp: str | None, why: Reason) -> None:
    assert rejected(signing.sign(MESSAGE, VTN, protect=signing.replay_protect("n", timestamp))) is why


@pytest.mark.parametrize("timestamp", ["2025-10-15T07:59:30Z", "2025-10-15T08:00:30Z", "2025-10-15T10:00:00+02:00"])
def test_inside_the_clock_window_is_inside(timestamp: str) -> None:
    body = signing.sign(MESSAGE, VTN, protect=signing.replay_protect("n", timestamp))
    assert event_ids(body) == ["TRUE"]


@pytest.mark.parametrize("nonce", [None, "", "n" * 1025])
def test_a_nonce_is_needed(nonce: str | None) -> None:
    body = signing.sign(MESSAGE, VTN, protect=signing.replay_protect(nonce))
    assert rejected(body) is Reason.NO_REPLAY_PROTECTION


def test_replay_protection_must_be_signed() -> None:
    assert rejected(signing.sign(MESSAGE, VTN, with_protect=False)) is Reason.NO_REPLAY_PROTECTION

    def add_unsigned(root: etree._Element) -> None:
        etree.SubElement(root[0], DS + "Object").append(signing.replay_protect())

    assert rejected(signing.sign(MESSAGE, VTN, with_protect=False, spoil=add_unsigned)) is Reason.NO_REPLAY_PROTECTION


def test_marks_tell_messages_apart() -> None:
    def mark(nonce: str, timestamp: str) -> str:
        body = signing.sign(MESSAGE, VTN, protect=signing.replay_protect(nonce, timestamp))
        found = check(body, REQUIRED, NOW).mark
        assert found is not None
        return found.digest

    first = mark("a", "2025-10-15T08:00:00Z")
    assert mark("a", "2025-10-15T08:00:00Z") == first
    assert mark("b", "2025-10-15T08:00:00Z") != first
    assert mark("a", "2025-10-15T08:00:01Z") != first


@pytest.mark.parametrize("use_rsa", [False, True])
def test_our_own_signature_holds_by_our_own_rules(use_rsa: bool) -> None:
    us = signing.make_identity(name="ven", use_rsa=use_rsa)
    signer = MessageSigner(us.certificate_pem, us.key_pem)
    body = encode(Poll(ven_id="ven & 1"), lambda root: signer.sign(root, now=NOW, nonce="n-1"))
    policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({us.fingerprint}))
    checked = check(body, policy, NOW)
    assert checked.mark is not None
    assert checked.mark.nonce == "n-1"
    assert checked.signed_object[0].findtext(EI + "venID") == "ven & 1"


def test_a_signing_key_must_be_a_key() -> None:
    with pytest.raises(InvalidInput, match=r"signing\.key_file"):
        MessageSigner(VTN.certificate_pem, b"no key")


def test_junk_inside_a_signature_stays_typed() -> None:
    signed = signing.sign(MESSAGE, VTN)
    for old, new in (
        (b'URI="#oadrSignedObject"', b'URI="#prop"'),
        (b'URI="#oadrSignedObject"', b'URI=""'),
        (b'URI="#oadrSignedObject"', b'URI="http://127.0.0.1:9/x"'),
        (b'URI="#oadrSignedObject"', b'URI="#xpointer(/)"'),
        (b'URI="#oadrSignedObject"', b"URI=\"#x' or '1'='1\""),
        (b"DigestValue>", b"DigestValue>!!"),
        (b"<ds:SignatureValue>", b"<ds:SignatureValue>AA=="),
    ):
        assert rejected(signed.replace(old, new)) in {Reason.BAD_SIGNATURE, Reason.NOT_VALID, Reason.MALFORMED}


def test_the_machine_clock_plays_no_part() -> None:
    far = datetime(2031, 1, 1, tzinfo=UTC)
    assert abs(far.timestamp() - time.time()) > 86_400
    signer = signing.make_identity(starts=far - timedelta(days=1))
    policy = GuardPolicy(signature=SignaturePolicy.REQUIRED, fingerprints=frozenset({signer.fingerprint}))
    body = signing.sign(MESSAGE, signer, protect=signing.replay_protect("n", "2031-01-01T00:00:05Z"))
    assert check(body, policy, far).mark is not None

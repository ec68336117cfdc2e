import io
import struct
import zipfile

import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.market_data import entsoe_xml
from gateway.market_data.entsoe_xml import MAX_DOCUMENT_BYTES, MAX_TAGS, read_tree, read_zip
from gateway.market_data.zip_guard import is_zip
from tests.market_data.documents import zipped

BOMB = (
    b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>"""
)


def problem_of(document: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_tree(document)
    return caught.value.problem


def test_a_plain_document_is_read() -> None:
    assert read_tree(b'<?xml version="1.0" encoding="utf-8"?><a><b>1</b></a>').findtext("b") == "1"


@pytest.mark.parametrize("body", [b"", b"  \n", b"\xef\xbb\xbf \n"])
def test_an_empty_body_is_the_platforms_failure(body: bytes) -> None:
    with pytest.raises(PeerUnavailable, match="empty"):
        read_tree(body)


@pytest.mark.parametrize(
    "page", [b"<html><body>Maintenance</body></html>", b"\n<!DOCTYPE html><html></html>", b"<HTML/>"]
)
def test_a_web_page_is_the_platforms_failure(page: bytes) -> None:
    with pytest.raises(PeerUnavailable, match="web page"):
        read_tree(page)


def test_entities_are_refused_before_parsing() -> None:
    assert problem_of(BOMB) == "declares a document type"


def test_a_document_type_cannot_hide_in_another_encoding() -> None:
    assert problem_of(BOMB.decode().encode("utf-16")) == "is not UTF-8"
    assert problem_of(BOMB.decode().encode("utf-16-le")) == "has a NUL byte"
    utf_7 = b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE x [+ADwAIQ-ENTITY a "b">]><x>&a;</x>'
    with pytest.raises(InvalidInput):
        read_tree(utf_7)


def test_a_document_that_lies_about_its_encoding_is_read_as_utf_8() -> None:
    tree = read_tree('<?xml version="1.0" encoding="iso-8859-1"?><a>é</a>'.encode())
    assert tree.text == "é"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_truncated_document_is_no_document(cut: int) -> None:
    assert "not well-formed" in problem_of(b"<a><b>12.50</b><c>1</c></a>"[:-cut])


def test_no_more_bytes_and_tags_than_prices_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(MAX_DOCUMENT_BYTES) in problem_of(b"<a>" + b" " * MAX_DOCUMENT_BYTES + b"</a>")
    monkeypatch.setattr(entsoe_xml, "MAX_TAGS", 4)
    assert problem_of(b"<a><b/><c/><d/></a>") == "has more than 4 tags"
    assert read_tree(b"<a><b/><c/></a>").tag == "a"
    assert MAX_TAGS * 200 < 100_000_000


def test_deep_nesting_is_refused() -> None:
    assert "not well-formed" in problem_of(b"<a>" * 400 + b"</a>" * 400)


def test_members_come_in_the_order_of_their_names() -> None:
    body = zipped({"002-B.xml": b"<b/>", "001-A.xml": b"<a/>"})
    assert is_zip(body)
    assert read_zip(body) == (b"<a/>", b"<b/>")


@pytest.mark.parametrize("name", ["../evil.xml", "/etc/x.xml", "a/b.xml", "a.exe", ".xml", "ü.xml", "a\\b.xml"])
def test_a_member_needs_a_plain_xml_name(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"plain \.xml file name"):
        read_zip(zipped({name: b"<a/>"}))


def test_a_zip_bomb_is_refused_by_its_size() -> None:
    with pytest.raises(InvalidInput, match="larger than"):
        read_zip(zipped({"a.xml": b" " * (MAX_DOCUMENT_BYTES + 1)}))


def test_all_members_together_have_one_cap() -> None:
    half = b" " * (MAX_DOCUMENT_BYTES // 2 + 1)
    with pytest.raises(InvalidInput, match="larger than"):
        read_zip(zipped({"a.xml": half, "b.xml": half}))


def test_a_size_that_lies_is_not_believed() -> None:
    body = bytearray(zipped({"a.xml": b" " * (MAX_DOCUMENT_BYTES + 1)}))
    central = body.rindex(b"PK\x01\x02")
    body[central + 24 : central + 28] = struct.pack("<I", 10)
    with pytest.raises(InvalidInput):
        read_zip(bytes(body))


def test_an_archive_needs_members_but_not_too_many() -> None:
    for count in (0, 41):
        with pytest.raises(InvalidInput, match=f"has {count} members"):
            read_zip(zipped({f"{n:03}.xml": b"<a/>" for n in range(count)}))


@pytest.mark.parametrize(
    "body", [b"PK\x03\x04 nonsense", b"PK\x03\x04", zipped({"a.xml": b"<a/>" * 500})[:60]], ids=["text", "start", "cut"]
)
def test_a_broken_archive_is_named(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a readable zip"):
        read_zip(body)


def test_an_encrypted_member_is_refused() -> None:
    body = bytearray(zipped({"a.xml": b"<a/>"}))
    central = body.rindex(b"PK\x01\x02")
    body[central + 8] |= 1
    body[6] |= 1
    with pytest.raises(InvalidInput, match="encrypted"):
        read_zip(bytes(body))


def test_a_changed_byte_is_noticed() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.xml", b"<a>100.00</a>")
    with pytest.raises(InvalidInput, match="not a readable zip"):
        read_zip(buffer.getvalue().replace(b"100.00", b"900.00"))

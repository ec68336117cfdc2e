"""Exchange rates in files: the European Central Bank's forms, and a table of one's own (case 11)."""

import io
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.market_data.rate_file import read_rate_file, read_rates

NOW = datetime(2025, 10, 16, tzinfo=UTC)
HISTORY = b"Date,USD,GBP,CYP,\n2025-10-15,1.1623,0.8701,N/A,\n2025-10-14,1.1553,0.87055,N/A,\n"
ONE_DAY = b"Date, USD, GBP, \n15 October 2025, 1.1623, 0.8701, \n"
OWN = b"date,base,quote,rate,source\n2025-10-15,GBP,SEK,12.5,contract 7\n"
XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
<gesmes:subject>Reference rates</gesmes:subject><gesmes:Sender><gesmes:name>European Central Bank</gesmes:name></gesmes:Sender>
<Cube><Cube time='2025-10-15'><Cube currency='USD' rate='1.1623'/><Cube currency='GBP' rate='0.8701'/></Cube></Cube>
</gesmes:Envelope>"""


def zipped(body: bytes, name: str = "eurofxref-hist.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, body)
    return buffer.getvalue()


@pytest.mark.parametrize("body", [HISTORY, zipped(HISTORY), ONE_DAY, XML], ids=["history", "zip", "one-day", "xml"])
def test_m11_every_form_of_the_bank_says_the_same(body: bytes) -> None:
    rates = {(rate.day, rate.quote): rate for rate in read_rates(body, fetched_at=NOW)}
    pound = rates[date(2025, 10, 15), "GBP"]
    assert (pound.base, pound.rate, pound.source) == ("EUR", Decimal("0.8701"), "ecb")
    assert not any(quote == "CYP" for _, quote in rates), "N/A is no rate"


def test_m11_a_table_of_ones_own_names_its_source(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_bytes(OWN)
    (rate,) = read_rate_file(path, fetched_at=NOW)
    assert rate.told() == "GBP/SEK 12.5 of 2025-10-15 by contract 7"
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_rate_file(tmp_path / "absent.csv", fetched_at=NOW)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (OWN.replace(b"12.5", b"12,5"), r"row\[2\]"),
        (OWN.replace(b"12.5", b"zero"), r"row\[2\].rate"),
        (OWN.replace(b"12.5", b"-1"), r"row\[2\].rate"),
        (OWN.replace(b"SEK", b"krona"), r"row\[2\].quote"),
        (OWN.replace(b"2025-10-15", b"15.10.2025"), r"row\[2\].date"),
        (OWN + OWN.partition(b"\n")[2], "twice"),
        (OWN.partition(b"\n")[0], "no exchange rate"),
        (HISTORY.replace(b"0.8701,", b""), r"row\[2\]"),
        (HISTORY.replace(b"1.1623", b"1.16.23"), r"row\[2\].USD"),
        (b"a,b\n1,2\n", "must begin"),
        (b"\xff\xfe", "UTF-8"),
        (zipped(HISTORY, "../x.csv"), "archive.member"),
        (XML.replace(b"gesmes:Envelope", b"gesmes:Parcel"), "Envelope"),
        (XML.replace(b"<?xml", b"<!DOCTYPE x><?xml"), "document type"),
        (XML.replace(b"rate='0.8701'", b""), "Cube.rate"),
    ],
)
def test_what_is_no_rate_is_refused_and_named(body: bytes, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        read_rates(body, fetched_at=NOW)


def test_a_web_page_is_no_document() -> None:
    with pytest.raises(PeerUnavailable):
        read_rates(b"<html>maintenance</html>", fetched_at=NOW)


@given(body=st.binary(max_size=200) | st.text(alphabet="Date,USD0.12\n-", max_size=80).map(str.encode))
def test_any_bytes_are_rates_or_a_named_error(body: bytes) -> None:
    try:
        rates = read_rates(body, fetched_at=NOW)
    except (InvalidInput, PeerUnavailable):
        return
    assert all(rate.rate > 0 for rate in rates)

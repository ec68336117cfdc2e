"""Which script plays which case."""

from collections.abc import Mapping

from gateway.selftest import cases_3_contact as contact3
from gateway.selftest import cases_3_events as events3
from gateway.selftest import cases_3_notices as notices3
from gateway.selftest import cases_20b_availability as availability
from gateway.selftest import cases_20b_contact as contact
from gateway.selftest import cases_20b_events as events
from gateway.selftest import cases_20b_reports as reports
from gateway.selftest.script import Script

_SCRIPTS_20B: Mapping[str, Script] = {
    "A1": Script(play=contact.a1, faults=({"on": "*", "do": "drop", "times": -1},)),
    "A2": Script(
        play=contact.a2, faults=({"on": "oadrCreatePartyRegistration", "do": "code", "code": 463, "times": 3},)
    ),
    "A3": Script(play=contact.a3),
    "A4": Script(play=contact.a4),
    "A5": Script(play=contact.a5),
    "A6": Script(play=contact.a6),
    "A7": Script(play=events.a7),
    "A8": Script(play=events.a8),
    "A9": Script(play=events.a9),
    "A10": Script(play=events.a10),
    "A11": Script(play=events.a11),
    "A12": Script(play=events.a12),
    "A13": Script(play=events.a13),
    "A14": Script(play=events.a14),
    "A15": Script(play=events.a15),
    "A16": Script(play=events.a16),
    "A17": Script(play=events.a17),
    "A18": Script(play=events.a18),
    "A19": Script(play=events.a19),
    "A20": Script(play=events.a20),
    "A21": Script(play=events.a21),
    "A22": Script(play=events.a22),
    "A23": Script(play=events.a23),
    "A24": Script(play=events.a24),
    "A25": Script(play=contact.a25),
    "A26": Script(play=contact.a26, is_signed=True),
    "A35": Script(play=contact.a35, world={"poll": contact.LONG_POLL}),
    "A36": Script(play=events.a36),
    "A27": Script(play=reports.a27),
    "A28": Script(play=reports.a28),
    "A29": Script(play=reports.a29),
    "A30": Script(play=reports.a30),
    "A31": Script(play=reports.a31),
    "A32": Script(play=reports.a32),
    "A33": Script(play=reports.a33),
    "A34": Script(play=reports.a34, is_measured=False),
    "A37": Script(play=availability.a37),
    "A38": Script(play=reports.a38, node=reports.ODD_NAME, table={"ven_name": reports.ODD_NAME}),
}
"""Cases against the scripted 2.0b VTN."""
_SCRIPTS_3: Mapping[str, Script] = {
    "B1": Script(play=contact3.b1, dialect="3.1.0"),
    "B2": Script(play=events3.b2, dialect="3.1.0"),
    "B3": Script(play=events3.b3, dialect="3.1.0"),
    "B4": Script(play=events3.b4, dialect="3.0.1"),
    "B5": Script(play=events3.b5, dialect="3.1.0"),
    "B6": Script(play=events3.b6, dialect="3.0.1"),
    "B7": Script(play=events3.b7, dialect="3.1.0"),
    "B8": Script(play=events3.b8, dialect="3.0.1"),
    "B9": Script(play=events3.b9, dialect="3.1.0"),
    "B10": Script(play=events3.b10, dialect="3.1.0"),
    "B11": Script(play=events3.b11, dialect="3.0.1"),
    "B12": Script(play=events3.b12, dialect="3.1.0"),
    "B13": Script(play=events3.b13, dialect="3.1.0", table={"lost_after": 180.0}),
    "B14": Script(
        play=notices3.b14, dialect="3.1.0", table={"poll": notices3.POLL_S, "v3": {"webhook": True, "survey": 900.0}}
    ),
    "B15": Script(
        play=notices3.b15,
        dialect="3.1.0",
        needs_broker=True,
        table={"poll": notices3.POLL_S, "v3": {"mqtt": True, "survey": 900.0}},
    ),
    "B16": Script(play=contact3.b16, dialect="3.1.0"),
    "B17": Script(play=contact3.b17, dialect="3.1.0"),
    "B18": Script(
        play=contact3.b18,
        dialect="3.1.0",
        table={"ven_name": contact3.EAN13, "targets": {contact3.EAN18: "b18"}, "v3": {"profile": "gac-2.2"}},
    ),
    "B19": Script(play=contact3.b19, dialect="3.1.0", world={"ven_type": "BL_VEN_REQUEST"}),
    "B20": Script(play=contact3.b20, dialect="3.1.0"),
}
"""Cases against the strict 3.x VTN."""
SCRIPTS: Mapping[str, Script] = {**_SCRIPTS_20B, **_SCRIPTS_3}
"""Every case that is played."""
JUDGED_IN_TESTS: Mapping[str, str] = {
    "B15": "tests/openadr/v3/test_mqtt.py::test_b15_a_broker_that_restarts_is_subscribed_again",
}
"""Cases that cannot be played where no MQTT broker is installed, with the test that judges them."""

"""Which script plays which case."""

from collections.abc import Mapping

from gateway.selftest import cases_20b_contact as contact
from gateway.selftest import cases_20b_events as events
from gateway.selftest import cases_20b_reports as reports
from gateway.selftest.script import Script

SCRIPTS_20B: Mapping[str, Script] = {
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
    "A35": Script(play=contact.a35),
    "A36": Script(play=events.a36),
    "A27": Script(play=reports.a27),
    "A28": Script(play=reports.a28),
    "A29": Script(play=reports.a29),
    "A30": Script(play=reports.a30),
    "A31": Script(play=reports.a31),
    "A32": Script(play=reports.a32),
    "A33": Script(play=reports.a33),
    "A34": Script(play=reports.a34, is_measured=False),
    "A38": Script(play=reports.a38, node=reports.ODD_NAME, table={"ven_name": reports.ODD_NAME}),
}
"""Cases against the scripted 2.0b VTN."""
JUDGED_IN_TESTS: Mapping[str, str] = {}
"""Cases that cannot be seen from outside, with the test that judges them."""

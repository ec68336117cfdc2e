"""2.0b: reports (A27 to A34, A38)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.selftest.partner import Fields, expect, text_of
from gateway.selftest.partner_20b import Partner20b, listed

USAGE, STATUS, HISTORY = "METADATA_TELEMETRY_USAGE", "METADATA_TELEMETRY_STATUS", "METADATA_HISTORY_USAGE"
_MINUTE = timedelta(minutes=1)
_QUIET = timedelta(minutes=6)
"""So long nothing more may come after the end of a report."""
_OUTAGE = timedelta(minutes=4)
_LONG = 12
"""Intervals of the report that meets an outage."""
ODD_NAME = "Depot A&B <1>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One report that the VEN offered."""

    specifier_id: str
    r_ids: tuple[str, ...]
    reading_types: tuple[str, ...]

    def request(self, request_id: str, granularity: str, back: str, **fields: object) -> Fields:
        """Return a request for all its points."""
        points = [
            {"r_id": r_id, "reading_type": kind} for r_id, kind in zip(self.r_ids, self.reading_types, strict=True)
        ]
        return {
            "report_request_id": request_id,
            "specifier_id": self.specifier_id,
            "granularity": granularity,
            "back": back,
            "points": points,
            **fields,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One interval of one update."""

    start: datetime
    points: tuple[Fields, ...]


async def offers(vtn: Partner20b) -> dict[str, Offer]:
    """Return what the VEN offered, by report name."""
    entries = await vtn.heard("oadrRegisterReport", where=lambda fields: "oadrReport" in fields)
    found = {}
    for report in listed(entries[-1]["fields"]["oadrReport"]):
        points = listed(report["oadrReportDescription"])
        found[report["reportName"]] = Offer(
            specifier_id=report["reportSpecifierID"],
            r_ids=tuple(point["rID"] for point in points),
            reading_types=tuple(point["readingType"] for point in points),
        )
    return found


async def offer(vtn: Partner20b, name: str) -> Offer:
    """Return one offered report.

    Raises:
        CaseFailed: It was not offered.
    """
    await vtn.registered()
    known = await offers(vtn)
    expect(name in known, f"offered only {sorted(known)}")
    return known[name]


async def ask(vtn: Partner20b, *requests: Fields) -> None:
    """Ask for reports and wait until the VEN has confirmed them."""
    mark = await vtn.mark()
    await vtn.say("oadrCreateReport", requests=list(requests))
    created = (await vtn.heard("oadrCreatedReport", after=mark))[0]["fields"]
    expect(created["eiResponse"]["responseCode"] == "200", created)


async def updates(vtn: Partner20b, request_id: str, count: int = 1, after: int = 0) -> list[Fields]:
    """Return the entries of updates of a request once there are so many; each has its report under `report`."""

    def is_of(fields: Fields) -> bool:
        return any(each["reportRequestID"] == request_id for each in listed(fields.get("oadrReport")))

    entries = await vtn.heard("oadrUpdateReport", count=count, after=after, where=is_of)
    for entry in entries:
        reports = listed(entry["fields"]["oadrReport"])
        entry["report"] = next(each for each in reports if each["reportRequestID"] == request_id)
    return entries


def told(report: Fields) -> list[Told]:
    """Return the intervals of a report by start; points that are written one by one are put together again."""
    rows: dict[datetime, list[Fields]] = {}
    for row in listed(report["intervals"].get("interval") if report.get("intervals") else None):
        start = datetime.fromisoformat(row["dtstart"]["date-time"])
        rows.setdefault(start, []).extend(listed(row["oadrReportPayload"]))
    return [Told(start=start, points=tuple(rows[start])) for start in rows]


async def a27(vtn: Partner20b) -> str:
    """Status and usage, both once, in one message."""
    status, usage = await offer(vtn, STATUS), await offer(vtn, USAGE)
    await ask(vtn, status.request("RR-S", "PT0S", "PT0S"), usage.request("RR-U", "PT0S", "PT0S"))
    for request_id, wanted in (("RR-S", status), ("RR-U", usage)):
        report = (await updates(vtn, request_id))[0]["report"]
        own = {point["rID"] for row in told(report) for point in row.points}
        expect(own and own <= set(wanted.r_ids), f"{request_id} holds {sorted(own)}")
    return f"{', '.join(status.r_ids)} and {', '.join(usage.r_ids)} apart"


async def a28(vtn: Partner20b) -> str:
    """Status once."""
    status = await offer(vtn, STATUS)
    mark = await vtn.mark()
    await ask(vtn, status.request("RR-S", "PT0S", "PT0S"))
    created = (await vtn.heard("oadrCreatedReport", after=mark))[0]
    update = (await updates(vtn, "RR-S"))[0]
    expect(created["n"] < update["n"], "the update came before oadrCreatedReport")
    state = told(update["report"])[0].points[0]["oadrPayloadResourceStatus"]
    expect({"oadrOnline", "oadrManualOverride"} <= set(state), state)
    return f"online {state['oadrOnline']}, manual override {state['oadrManualOverride']}"


async def a29(vtn: Partner20b) -> str:
    """Usage each minute for ten minutes, two at a time."""
    usage = await offer(vtn, USAGE)
    start = vtn.clock.now() + _MINUTE / 4
    span = {"start": text_of(start), "duration": "PT10M"}
    await ask(vtn, usage.request("RR-1", "PT1M", "PT2M", **span))
    await updates(vtn, "RR-1", 5)
    await vtn.pass_market(_QUIET)
    entries = await updates(vtn, "RR-1", 5)
    sizes = [len(told(entry["report"])) for entry in entries]
    expect(sizes == [2] * 5, f"updates of {sizes} intervals")
    return f"{len(sizes)} updates of {sizes[0]} intervals, then none"


async def a30(vtn: Partner20b) -> str:
    """Usage each 90 s."""
    usage = await offer(vtn, USAGE)
    await ask(vtn, usage.request("RR-1", "PT1M30S", "PT3M"))
    entries = await updates(vtn, "RR-1", 3)
    starts = [row.start for entry in entries for row in told(entry["report"])]
    gaps = {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(starts)}
    expect(gaps == {90.0}, f"{sorted(gaps)} s apart")
    return f"{len(starts)} intervals 90 s apart"


async def a31(vtn: Partner20b) -> str:
    """The last 30 minutes."""
    history = await offer(vtn, HISTORY)
    await vtn.pass_market(32 * _MINUTE)
    end = vtn.clock.now().replace(second=0, microsecond=0) - _MINUTE
    start = end - 30 * _MINUTE
    span = {"start": text_of(start), "duration": "PT30M"}
    await ask(vtn, history.request("RR-H", "PT1M", "PT0S", **span))
    entries = await updates(vtn, "RR-H")
    starts = [row.start for entry in entries for row in told(entry["report"])]
    wanted = [start + minute * _MINUTE for minute in range(30)]
    expect(starts == wanted, f"{len(starts)} points from {starts[:1]} to {starts[-1:]}, not 30 from {text_of(start)}")
    return f"30 points from {text_of(start)}"


async def a32(vtn: Partner20b) -> str:
    """An update is answered with nothing, then the VTN is away."""
    usage = await offer(vtn, USAGE)
    start = vtn.clock.now() + _MINUTE / 4
    await vtn.fault("oadrUpdateReport", "empty", times=2)
    await ask(vtn, usage.request("RR-1", "PT1M", "PT1M", start=text_of(start), duration="PT12M"))
    await updates(vtn, "RR-1", 3)
    await vtn.fault("*", "drop", times=-1)
    await vtn.pass_market(_OUTAGE)
    await vtn.heal()
    taken: list[tuple[datetime, str]] = []

    async def is_complete() -> bool:
        entries = await updates(vtn, "RR-1", 3)
        rows = [(entry["fault"], row.start, row.points) for entry in entries for row in told(entry["report"])]
        taken[:] = [(begin, point["rID"]) for fault, begin, points in rows if not fault for point in points]
        return len({begin for fault, begin, _ in rows if fault != "drop"}) >= _LONG

    await vtn.until(is_complete, f"{_LONG} intervals after the outage", seen=lambda: len(taken))
    twice = len(taken) - len(set(taken))
    expect(twice == 0, f"{twice} values came twice")
    return f"{len(taken)} values of {_LONG} intervals, none twice"


async def a33(vtn: Partner20b) -> str:
    """Cancelled with a report to follow, by a message and inside an answer."""
    usage = await offer(vtn, USAGE)
    await ask(vtn, usage.request("RR-1", "PT1M", "PT2M"), usage.request("RR-2", "PT1M", "PT2M"))
    await updates(vtn, "RR-1")
    mark = await vtn.mark()
    await vtn.say("oadrCancelReport", report_request_ids=["RR-1"], to_follow=True)
    await _one_more(vtn, "RR-1", mark)
    cancel = {"report_request_ids": ["RR-2"], "to_follow": True}
    await vtn.fault("oadrUpdateReport", "say", message={"kind": "oadrUpdatedReport", "cancel": cancel})
    mark = await vtn.mark()
    await updates(vtn, "RR-2", after=mark)
    await _one_more(vtn, "RR-2", mark)
    return "one more update each, then none"


async def _one_more(vtn: Partner20b, request_id: str, mark: int) -> None:
    canceled = (await vtn.heard("oadrCanceledReport", after=mark))[0]["n"]
    await updates(vtn, request_id, after=canceled)
    await vtn.pass_market(_QUIET)
    late = await updates(vtn, request_id, after=canceled)
    expect(len(late) == 1, f"{len(late)} updates of {request_id} after its cancellation")


async def a34(vtn: Partner20b) -> str:
    """Nobody measures the node: its status comes, its usage is marked or left out."""
    status, usage = await offer(vtn, STATUS), await offer(vtn, USAGE)
    await ask(vtn, usage.request("RR-U", "PT0S", "PT0S"), status.request("RR-S", "PT0S", "PT0S"))
    await updates(vtn, "RR-S")
    entries = await vtn.log()
    reports = [each for entry in entries if entry["kind"] == "oadrUpdateReport" for each in _reports(entry["fields"])]
    points = [p for each in reports if each["reportRequestID"] == "RR-U" for row in told(each) for p in row.points]
    good = [point for point in points if not str(point.get("oadrDataQuality", "")).startswith(("Quality Bad", "No"))]
    expect(not good, f"told as good: {good}")
    return f"status told; {len(points)} points of usage, all marked" if points else "status told, usage left out"


def _reports(fields: Fields) -> Sequence[Fields]:
    return listed(fields.get("oadrReport"))


async def a38(vtn: Partner20b) -> str:
    """The node and the VEN have odd names."""
    usage = await offer(vtn, USAGE)
    entries = await vtn.heard("oadrCreatePartyRegistration")
    expect(entries[0]["fields"]["oadrVenName"] == ODD_NAME, entries[0]["fields"])
    offered = str((await vtn.heard("oadrRegisterReport"))[-1]["fields"])
    expect(ODD_NAME in offered, f"the name is not in {offered[:200]}")
    await ask(vtn, usage.request("RR-1", "PT1M", "PT2M"))
    await updates(vtn, "RR-1")
    return f"{ODD_NAME} in valid messages"

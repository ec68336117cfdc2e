"""Runs a passport test: listens, waits for the charger and its car, tries, judges, writes."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from gateway.domain.errors import PeerUnavailable, VoltbridgeError
from gateway.ocpp.passport.findings import Findings, judge
from gateway.ocpp.passport.report import Passport, as_csv, as_json, as_markdown
from gateway.ocpp.passport.subject import Subject
from gateway.ocpp.passport.trials import Bench, run_trials
from gateway.ocpp.server import ChargerServer
from gateway.ocpp.settings import CsmsSettings
from gateway.ocpp.surroundings import Clock

_CONNECT_S = 300.0
_PLUG_S = 300.0
_CALM_S = 10.0
"""After connecting a charger says what it has to say first."""


async def take_passport(
    settings: CsmsSettings,
    charger: str,
    clock: Clock,
    say: Callable[[str], None],
    *,
    phases: int = 3,
    on_listening: Callable[[int], None] = lambda port: None,
) -> Passport:
    """Test one charger; others of the settings are not let in meanwhile.

    Args:
        settings: Where it connects and who it is.
        charger: Its id in the site tree.
        clock: Time of the test.
        say: Told what is tried.
        phases: Phases of the charger.
        on_listening: Told the port.

    Raises:
        InvalidInput: No station of the settings has the charger.
        PeerUnavailable: It did not connect within five minutes.
    """
    station = settings.station_of(charger)
    number = next(connector.id for connector in station.connectors if connector.charger == charger)
    subject = Subject(clock, station, number, phases)
    findings, started_at = Findings(), clock.now()
    async with ChargerServer(settings, {station.identity: subject}, clock).listening() as port:
        on_listening(port)
        say(f"waiting for {station.identity} to connect to port {port}")
        if not await subject.until(lambda: subject.dialect is not None, _CONNECT_S):
            raise PeerUnavailable(f"{station.identity} did not connect within {_CONNECT_S / 60:.0f} minutes")
        await clock.sleep(timedelta(seconds=_CALM_S))
        say("waiting for a car")
        await subject.until(lambda: subject.running is not None, _PLUG_S)
        try:
            await run_trials(Bench(subject=subject, clock=clock, findings=findings), say)
        except VoltbridgeError as error:
            findings.add("finished", value=False, note=str(error))
    return Passport(
        charger=charger,
        ocpp=subject.version,
        started_at=started_at,
        ended_at=clock.now(),
        is_simulated_time=settings.clock_file is not None,
        findings=findings,
        judgement=judge(findings, phases),
    )


def write_passport(passport: Passport, folder: Path) -> tuple[Path, ...]:
    """Write the passport as JSON, Markdown and CSV and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in passport.charger)
    texts = {"json": as_json(passport), "md": as_markdown(passport), "csv": as_csv(passport)}
    files = tuple(folder / f"passport-{stem}.{ending}" for ending in texts)
    for file, text in zip(files, texts.values(), strict=True):
        file.write_text(text, encoding="utf-8")
    return files

"""Who may connect: security profiles 1 to 3, over real TLS; nobody else gets a byte of OCPP."""

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from gateway.ocpp.admission import identity_of, is_admitted
from gateway.ocpp.settings import ConnectorSettings, CsmsSettings, ListenSettings, StationSettings
from gateway.sandbox.charge_point import ChargerModel
from tests.ocpp.csms_scene import QUICK, CsmsScene, until

PASSWORD = "0123456789abcdef0123"
SHA256 = hashlib.sha256(PASSWORD.encode()).hexdigest()


class Authority:
    """Certificates of a server and of stations, as files."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        server = self.ca.issue_cert("127.0.0.1", "localhost")
        server.private_key_pem.write_to_path(str(folder / "server.key"))
        server.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))

    def listen(self, *, with_stations: bool) -> ListenSettings:
        return ListenSettings(
            port=0,
            certificate=self.folder / "server.pem",
            private_key=self.folder / "server.key",
            client_ca=self.folder / "ca.pem" if with_stations else None,
        )

    def client(self, name: str = "", ca: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if name:
            (self.ca if ca is None else ca).issue_cert(name, common_name=name).configure_cert(context)
        return context


def world_of(folder: Path, listen: ListenSettings, model: ChargerModel, **station: Any) -> CsmsScene:
    entry = StationSettings(identity="CP-1", connectors=(ConnectorSettings(charger="ch-1"),), **station)
    settings = CsmsSettings(state_folder=folder / "state", listen=listen, times=QUICK, stations=(entry,))
    return CsmsScene(settings, model)


async def test_profile_1_the_right_password_is_let_in_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    model = ChargerModel(identity="CP-1", password=PASSWORD)
    async with world_of(tmp_path, ListenSettings(port=0), model, password_sha256=SHA256).running() as world:
        assert world.station.is_connected
    for wrong in ("", "wrong", PASSWORD + "x"):
        model = ChargerModel(identity="CP-1", password=wrong)
        async with world_of(tmp_path, ListenSettings(port=0), model, password_sha256=SHA256).server.listening() as port:
            with pytest.raises(InvalidHandshake, match="401"):
                await connect(f"ws://127.0.0.1:{port}/CP-1", subprotocols=["ocpp1.6"])  # type: ignore[list-item]


async def test_who_is_not_in_the_settings_or_speaks_no_ocpp_is_refused(tmp_path: Path) -> None:
    world = world_of(tmp_path, ListenSettings(port=0), ChargerModel())
    async with world.server.listening() as port:
        with pytest.raises(InvalidHandshake, match="401"):
            await connect(f"ws://127.0.0.1:{port}/CP-2", subprotocols=["ocpp1.6"])  # type: ignore[list-item]
        for protocols in (None, ["ocpp1.5"]):
            with pytest.raises(InvalidHandshake, match="400"):
                await connect(f"ws://127.0.0.1:{port}/CP-1", subprotocols=protocols)  # type: ignore[arg-type]


async def test_profile_2_a_password_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    model = ChargerModel(identity="CP-1", password=PASSWORD, tls=authority.client())
    world = world_of(tmp_path, authority.listen(with_stations=False), model, password_sha256=SHA256)
    async with secured(world):
        assert world.station.is_connected


async def test_profile_3_the_certificate_of_the_station_and_no_other(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listen = authority.listen(with_stations=True)
    world = world_of(tmp_path, listen, ChargerModel(tls=authority.client("CP-1")), certificate_name="CP-1")
    async with secured(world):
        assert world.station.is_connected
    for wrong in (authority.client(), authority.client("CP-2"), authority.client("CP-1", trustme.CA())):
        async with world.server.listening() as port:
            with pytest.raises((InvalidHandshake, ConnectionClosed, OSError, ssl.SSLError)):
                await connect(f"wss://127.0.0.1:{port}/CP-1", subprotocols=["ocpp1.6"], ssl=wrong)  # type: ignore[list-item]
            assert not world.station.is_connected


def secured(world: CsmsScene) -> Any:
    world.scheme = "wss"
    return world.running()


async def test_a_newer_connection_of_a_station_takes_over(tmp_path: Path) -> None:
    world = world_of(tmp_path, ListenSettings(port=0), ChargerModel())
    async with world.server.listening() as port:
        url = f"ws://127.0.0.1:{port}/CP-1"
        older = await connect(url, subprotocols=["ocpp1.6"])  # type: ignore[list-item]
        await until(lambda: world.station.is_connected)
        newer = await connect(url, subprotocols=["ocpp1.6"])  # type: ignore[list-item]
        with pytest.raises(ConnectionClosed):
            await older.recv()
        await newer.send('[2,"1","Heartbeat",{}]')
        assert '[3,"1",{"currentTime"' in str(await newer.recv()).replace(", ", ",")
        await newer.close()


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("{}", None),
        ("[2]", None),
        ("nonsense", None),
        ('[3,"unknown",{}]', None),
        ('[2,"1","Reset",{}]', '[4,"1","NotImplemented"'),
        ('[2,"1","BootNotification",{"chargePointModel":"x"}]', '[4,"1","'),
        ('[2,"1","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Melted"}]', '[4,"1","'),
        (
            '[2,"1","StartTransaction",{"connectorId":7,"idTag":"T","meterStart":1,"timestamp":"2026-11-21T10:00:00Z"}]',
            '[4,"1","',
        ),
        ('[2,"1","StartTransaction",{"connectorId":1,"idTag":"T","meterStart":1,"timestamp":"yesterday"}]', '[4,"1","'),
    ],
    ids=["object", "short", "no json", "unasked", "unknown", "incomplete", "enum", "connector", "time"],
)
async def test_one_bad_frame_never_affects_the_next(tmp_path: Path, frame: str, answer: str | None) -> None:
    world = world_of(tmp_path, ListenSettings(port=0), ChargerModel())
    async with world.server.listening() as port:
        socket = await connect(f"ws://127.0.0.1:{port}/CP-1", subprotocols=["ocpp1.6"])  # type: ignore[list-item]
        await socket.send(frame)
        if answer is not None:
            assert str(await socket.recv()).startswith(answer)
        await socket.send('[2,"2","Heartbeat",{}]')
        assert str(await socket.recv()).startswith('[3,"2",{"currentTime"')
        await socket.close()


def test_identities_are_read_from_the_last_part_of_the_path() -> None:
    assert identity_of("/ocpp/CP-1") == "CP-1"
    assert identity_of("/CP%201/?a=b") == "CP 1"
    assert identity_of("/") == ""


@pytest.mark.parametrize(
    "header", [None, "", "Basic", "Basic !!!", "Bearer x", "Basic Q1AtMTp3cm9uZw==", "Basic Q1AtMjowMTIz"]
)
def test_what_is_no_right_password_is_none(header: str | None) -> None:
    station = StationSettings(identity="CP-1", password_sha256=SHA256, connectors=(ConnectorSettings(charger="ch-1"),))
    assert not is_admitted(station, header, None)
    assert not is_admitted(None, header, None)

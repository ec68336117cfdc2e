"""Wrong settings about grid partners are refused at the start, by the names that the settings file uses."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.app.gateway import open_gateway
from gateway.app.partner_errors import naming_partner
from gateway.app.peers import push_server_of, rereader_of, ven_settings_of
from gateway.app.vtns import ven3_settings
from gateway.domain.errors import InvalidInput
from gateway.domain.inventory import parse_inventory
from gateway.grid_settings import ONLY_20B, Vtn3Settings, VtnPushSettings, VtnSettings, WebhookSettings
from gateway.openadr.https import tls_context
from gateway.openadr.v20b.signature import MessageSigner, verify
from gateway.settings import RpcSettings, Settings, StoreSettings, WebSettings, load_settings
from tests.app.example_keys import CONFIG, keys_by_table
from tests.fakes.store import MemoryStore
from tests.openadr.v20b import signing
from tests.openadr.v20b.bench import Bench, virtually

PIN = "AA:BB:CC:DD:EE:FF:00:11:22:33"
PLAIN = "[web]\nallow_plain_on_loopback = true\n[rpc]\nallow_plain_on_loopback = true\n"
PUSH = '[vtn.push]\nport = 0\npublic_url = "https://ven.example:8443"\n'


def old(more: str = "", **changes: str) -> str:
    said = {
        "authority": "vtn:old",
        "tenant": "default",
        "url": "https://vtn.example/OpenADR2/Simple/2.0b",
        "ven_name": "v",
        "portfolio_node": "vpp",
        "signature": "off",
    }
    lines = [f'{key} = "{value}"' for key, value in {**said, **changes}.items()]
    return "\n".join(["[[vtn]]", *lines, 'market_contexts = ["http://grid.example/dr"]', more, ""])


def new(more: str = "", **changes: str) -> str:
    said = {
        "authority": "vtn:new",
        "tenant": "default",
        "dialect": "3.1.0",
        "url": "https://vtn.example/openadr3/3.1.0",
        "ven_name": "v",
        "portfolio_node": "vpp",
    }
    return "\n".join(["[[vtn]]", *(f'{key} = "{value}"' for key, value in {**said, **changes}.items()), more, ""])


def told(folder: Path, *vtns: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text(PLAIN + "".join(vtns))
    return load_settings(path)


def refused(folder: Path, *vtns: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        told(folder, *vtns)
    return caught.value.field


VALUES: dict[str, str] = {
    "market_contexts": '["http://grid.example/dr"]',
    "profile": '"se-conditional-1.0"',
    "applies_broken": "true",
    "report_nodes": '{ a = "b" }',
    "report_every": "60",
    "history_points": "192",
    "device_classes": '["EVSE"]',
    "push": '{ port = 0, public_url = "https://ven.example:8443" }',
    "later_word": '"opt"',
    "on_shortfall": '"opt-out"',
    "cancel_at_stop": "true",
    "signature": '"off"',
    "fingerprints": f'["{PIN}"]',
    "clock_skew": "30",
}
"""A good value of each key that is about 2.0b and not a text of its own."""


@pytest.mark.parametrize("key", ONLY_20B)
def test_a_key_of_2_0b_is_refused_for_3_x(tmp_path: Path, key: str) -> None:
    value = VALUES.get(key, '"x"')
    assert refused(tmp_path, new(f"{key} = {value}")) == f"vtn[0].{key}"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('v3 = { profile = "us-ca-prices-1.0" }', "vtn[1].v3.profile"),
        ("v3 = { mqtt = false }", "vtn[1].v3.mqtt"),
        ("[vtn.v3]", "vtn[1].v3"),
    ],
    ids=["profile", "default-said", "empty"],
)
def test_a_key_of_3_x_is_refused_for_2_0b(tmp_path: Path, more: str, field: str) -> None:
    assert refused(tmp_path, new(), old(more)) == field


def test_both_dialects_stand_beside_each_other(tmp_path: Path) -> None:
    assert [vtn.dialect for vtn in told(tmp_path, old(), new(), new(authority="vtn:third")).vtn] == [
        "2.0b",
        "3.1.0",
        "3.1.0",
    ]


@pytest.mark.parametrize(
    ("vtns", "field"),
    [
        ([old(), new(authority="vtn:old")], "vtn[1].authority"),
        ([old(), new(tenant="nobody")], "vtn[1].tenant"),
        ([old(f'fingerprints = ["{PIN}"]')], "vtn[0].fingerprints"),
        ([old('signing_key = "k"')], "vtn[0].signing_certificate"),
        ([old('signing_certificate = "c"')], "vtn[0].signing_key"),
        ([new('client_key = "k"')], "vtn[0].client_certificate"),
        ([new(), '[[program]]\nauthority = "vtn:old"\n'], "program[0].authority"),
        ([new(dialect="3.2")], "vtn[0].dialect"),
        ([new("[vtn.v3]\nfrobnicate = 1")], "vtn[0].v3.frobnicate"),
    ],
    ids=[
        "authority-twice",
        "tenant-unknown",
        "pins-without-signatures",
        "signing-key-alone",
        "signing-certificate-alone",
        "client-key-alone",
        "agreement-with-nobody",
        "dialect-unknown",
        "key-unknown",
    ],
)
def test_a_wrong_partner_is_named(tmp_path: Path, vtns: list[str], field: str) -> None:
    assert refused(tmp_path, *vtns) == field


@pytest.mark.parametrize("text", ["", "AA:BB", PIN.replace(":", ""), f"{PIN}:44", PIN.replace("AA", "GG"), f"{PIN};"])
@pytest.mark.parametrize("key", ["fingerprints", "tls_fingerprints"])
def test_a_malformed_fingerprint_is_refused(tmp_path: Path, key: str, text: str) -> None:
    assert refused(tmp_path, old(f'{key} = ["{PIN}", "{text}"]', signature="required")) == f"vtn[0].{key}[1]"


def test_fingerprints_of_signatures_of_the_connection_and_of_the_door_are_three_things(tmp_path: Path) -> None:
    whole = ":".join(["0a"] * 32)
    pins = f'fingerprints = ["{PIN.lower()}"]\ntls_fingerprints = ["{whole}"]\n'
    door = f'{PUSH}client_ca = "ca.pem"\ncertificate = "c.pem"\nclient_fingerprints = ["{PIN.lower()}"]\n'
    ven = ven_settings_of(told(tmp_path, old(pins + door, signature="required")).vtn[0])
    assert ven.guard_policy().fingerprints == {PIN}
    assert ven.tls.fingerprints == {whole.upper()}
    assert ven.push is not None
    assert ven.push.fingerprints == {PIN}
    assert ven3_settings(told(tmp_path, new(f'tls_fingerprints = ["{PIN.lower()}"]')).vtn[0]).tls.fingerprints == {PIN}


@pytest.mark.parametrize("use_rsa", [False, True], ids=["elliptic-curve", "rsa"])
def test_our_messages_are_signed_as_the_file_says(tmp_path: Path, use_rsa: bool) -> None:
    us = signing.make_identity(name="ven", use_rsa=use_rsa)
    (tmp_path / "ven.pem").write_bytes(us.certificate_pem)
    key = tmp_path / "ven.key"
    key.touch(mode=0o600)
    key.write_bytes(us.key_pem)
    more = f'signing_certificate = "{tmp_path / "ven.pem"}"\nsigning_key = "{key}"\nclock_skew = 45\n'
    ven = ven_settings_of(told(tmp_path, old(more)).vtn[0])
    assert ven.guard_policy().clock_skew.total_seconds() == 45.0

    async def scenario(bench: Bench) -> None:
        await bench.play(seconds=30)

    bench = virtually(scenario, signing=ven.signing, clock_skew=ven.clock_skew)
    assert len(bench.vtn.heard) > 3
    for said in bench.vtn.heard:
        covered = said.root.find("{http://openadr.org/oadr-2.0b/2012/07}oadrSignedObject")
        assert verify(said.root, covered, frozenset({us.fingerprint}), ven.clock_skew, said.at).mark.nonce


def test_our_messages_are_not_signed_where_the_file_says_nothing(tmp_path: Path) -> None:
    assert ven_settings_of(told(tmp_path, old()).vtn[0]).signing is None


def building(vtn: VtnSettings) -> None:
    """Build what a gateway builds of a partner and can be refused for, without any peer."""
    if vtn.dialect != "2.0b":
        tls_context(ven3_settings(vtn).tls)
        return
    ven = ven_settings_of(vtn)
    tls_context(ven.tls)
    rereader_of(vtn, MemoryStore())
    if ven.signing is not None:
        MessageSigner(ven.signing.cert_file.read_bytes(), ven.signing.key_file.read_bytes())
    if ven.push is not None:
        nobody: Any = type("Nobody", (), {"receive": None})()
        push_server_of(vtn, nobody)


def files_in(folder: Path) -> str:
    garbage = folder / "garbage.pem"
    garbage.touch(mode=0o600)
    garbage.write_text("not a certificate")
    return str(garbage)


REFUSED: dict[str, tuple[Callable[[str], str], str, str]] = {
    "url": (lambda _: old(url="http://vtn.example/x"), "url", "allow_plain_on_loopback"),
    "contexts": (lambda _: old().replace('["http://grid.example/dr"]', "[]"), "market_contexts", ""),
    "pins": (lambda _: old(signature="required"), "fingerprints", "pinned"),
    "profile": (lambda _: old(profile="gac-9.9"), "profile", "gac-9.9"),
    "profile-of-3.x": (lambda _: old(profile="gac-2.2"), "profile", "3.1.0"),
    "ca-missing": (lambda _: old(ca="nowhere.pem"), "ca", "nowhere.pem"),
    "ca-garbage": (lambda file: old(ca=file), "ca", "garbage.pem"),
    "client": (lambda file: old(client_certificate=file, client_key=file), "client_certificate", "garbage.pem"),
    "signing": (lambda file: old(signing_certificate=file, signing_key=file), "signing_key", "garbage.pem"),
    "signing-missing": (
        lambda file: old(signing_certificate="nowhere.pem", signing_key=file),
        "signing_certificate",
        "nowhere.pem",
    ),
    "door-open": (lambda _: old(f'{PUSH}host = "0.0.0.0"\n'), "push.certificate", "loopback"),
    "door-anybody": (lambda _: old(PUSH), "push.client_ca", "signatures"),
    "door-garbage": (
        lambda file: old(f'{PUSH}certificate = "{file}"\nclient_ca = "{file}"\n'),
        "push.certificate",
        "garbage.pem",
    ),
    "door-missing": (
        lambda file: old(f'{PUSH}certificate = "{file}"\nclient_ca = "nowhere.pem"\n'),
        "push.client_ca",
        "nowhere.pem",
    ),
    "3.x-url": (lambda _: new(url="ftp://vtn.example"), "url", "https"),
    "3.x-secret": (lambda _: new('v3 = { client_id = "me" }'), "v3.client_secret_file", "required"),
    "3.x-profile": (lambda _: new('v3 = { profile = "gac-9.9" }'), "v3.profile", "gac-9.9"),
    "3.x-token": (
        lambda file: new(f'v3 = {{ client_id = "me", client_secret_file = "{file}", token_url = "http://x.example" }}'),
        "v3.token_url",
        "https",
    ),
    "3.x-broker": (lambda _: new('v3 = { mqtt_ca = "nowhere.pem" }'), "v3.mqtt_ca", "nowhere.pem"),
    "3.x-ca": (lambda file: new(ca=file), "ca", "garbage.pem"),
}
"""What is wrong, the key that must be named, and what else must be said."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_ven_refuses_is_named_by_the_key_of_the_file(tmp_path: Path, name: str) -> None:
    text, key, word = REFUSED[name]
    settings = told(tmp_path, new(authority="vtn:first"), text(files_in(tmp_path)))
    with pytest.raises(InvalidInput) as caught, naming_partner(1, settings.vtn[1]):
        building(settings.vtn[1])
    assert caught.value.field == f"vtn[1].{key}"
    assert word in caught.value.problem


@pytest.mark.parametrize("name", ["profile", "3.x-profile", "ca-missing"])
async def test_a_gateway_with_such_a_partner_does_not_start(tmp_path: Path, name: str) -> None:
    text, key, word = REFUSED[name]
    doors = {"rpc": RpcSettings(port=0, allow_plain_on_loopback=True), "web": WebSettings(port=0)}
    store = {"store": StoreSettings(url=f"sqlite:///{tmp_path / 'rows.sqlite'}")}
    settings = told(tmp_path, new(authority="vtn:first"), text(files_in(tmp_path))).model_copy(update=doors | store)
    with pytest.raises(InvalidInput) as caught:
        async with open_gateway(settings):
            pass
    assert caught.value.field == f"vtn[1].{key}"
    assert word in caught.value.problem


def test_what_is_no_key_of_a_partner_keeps_its_name(tmp_path: Path) -> None:
    vtn = told(tmp_path, new()).vtn[0]
    with pytest.raises(InvalidInput) as caught, naming_partner(0, vtn):
        raise InvalidInput("openadr.webhook.cert_file", "cannot be used")
    assert caught.value.field == "openadr.webhook.cert_file"


def test_every_key_about_2_0b_is_in_its_example() -> None:
    shown = keys_by_table("vtn_20b.toml")
    assert set(VtnSettings.model_fields) - {"v3"} == shown["vtn"]
    assert set(VtnPushSettings.model_fields) == shown["vtn.push"]


def test_every_key_about_3_x_is_in_its_example() -> None:
    shown = keys_by_table("vtn_3.toml")
    assert set(VtnSettings.model_fields) - set(ONLY_20B) == shown["vtn"]
    assert set(Vtn3Settings.model_fields) == shown["vtn.v3"]
    assert set(WebhookSettings.model_fields) == shown["webhook"]


def test_every_key_about_rows_is_in_the_bare_gateway() -> None:
    assert set(StoreSettings.model_fields) == keys_by_table("gateway.toml")["store"]


def test_examples_of_both_dialects_fit_each_other_and_the_inventory(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text((CONFIG / "vtn_20b.toml").read_text() + (CONFIG / "vtn_3.toml").read_text())
    vtns = {vtn.authority: vtn for vtn in load_settings(path).vtn}
    inventory = parse_inventory(tomllib.loads((CONFIG / "inventory.toml").read_text()))
    nodes = {node.id for node in inventory.nodes}
    for vtn in vtns.values():
        assert {
            vtn.portfolio_node,
            *vtn.targets.values(),
            *vtn.report_nodes.values(),
            *vtn.v3.resources.values(),
        } <= nodes
    assert {one.authority for one in inventory.enrolments} == set(vtns)

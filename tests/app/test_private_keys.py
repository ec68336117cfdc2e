"""A private key that others may read is refused wherever a key is used; the fields are named as in the settings."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from gateway.app.gateway import rpc_tls
from gateway.app.notifications import receiver_of
from gateway.app.pages import PageServer
from gateway.app.peers import ven_settings_of
from gateway.app.vtns import ven3_settings
from gateway.domain.errors import InvalidInput
from gateway.settings import Settings, load_settings, private_key
from tests.fakes.clock import HandClock

TEXT = """
tenants = ["demo"]
[rpc]
tls_key = "{key}"
tls_certificate = "{certificate}"
[web]
tls_key = "{key}"
tls_certificate = "{certificate}"
[webhook]
port = 0
public_url = "https://vpp.example/openadr"
key = "{key}"
certificate = "{certificate}"
[[vtn]]
authority = "vtn:old"
tenant = "demo"
url = "https://vtn.example/OpenADR2/Simple/2.0b"
ven_name = "v"
market_contexts = ["http://grid.example/dr"]
portfolio_node = "vpp-be"
signature = "off"
{client}
{push}
[[vtn]]
authority = "vtn:new"
tenant = "demo"
dialect = "3.1.0"
url = "https://vtn.example/openadr3"
ven_name = "v"
portfolio_node = "vpp-be"
client_key = "{key}"
client_certificate = "{certificate}"
[vtn.v3]
webhook = true
"""
CLIENT = 'client_key = "{key}"\nclient_certificate = "{certificate}"'
PUSH = """
[vtn.push]
port = 0
public_url = "https://ven.example:8443"
key = "{key}"
certificate = "{certificate}"
client_ca = "{certificate}"
"""


def told(folder: Path, key: Path, *, client: str = "", push: str = "") -> Settings:
    names = {"key": key, "certificate": folder / "chain.pem"}
    parts = {"client": client.format(**names), "push": push.format(**names)}
    path = folder / "gateway.toml"
    path.write_text(TEXT.format(**names, **parts))
    return load_settings(path)


def key_of(folder: Path, mode: int) -> Path:
    key = folder / "key.pem"
    key.write_text("a private key")
    key.chmod(mode)
    return key


USES: dict[str, Callable[[Path, Path], object]] = {
    "rpc.tls_key": lambda folder, key: rpc_tls(told(folder, key).rpc),
    "web.tls_key": lambda folder, key: PageServer(FastAPI(), told(folder, key).web),
    "webhook.key": lambda folder, key: receiver_of(told(folder, key), HandClock()),
    "vtn.client_key": lambda folder, key: ven_settings_of(told(folder, key, client=CLIENT).vtn[0]),
    "vtn.push.key": lambda folder, key: ven_settings_of(told(folder, key, push=PUSH).vtn[0]),
    "vtn.client_key of 3.x": lambda folder, key: ven3_settings(told(folder, key).vtn[1]),
}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622], ids=["group-reads", "others-read", "others-write"])
@pytest.mark.parametrize("use", USES)
def test_catalogue_i10_a_key_that_others_may_use_is_refused_at_the_start(tmp_path: Path, use: str, mode: int) -> None:
    with pytest.raises(InvalidInput, match="mode 0600") as caught:
        USES[use](tmp_path, key_of(tmp_path, mode))
    assert caught.value.field == use.removesuffix(" of 3.x")
    assert "a private key" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400], ids=["own", "own-read-only"])
def test_a_key_of_its_owner_alone_is_taken(tmp_path: Path, mode: int) -> None:
    key = key_of(tmp_path, mode)
    settings = told(tmp_path, key, client=CLIENT, push=PUSH)
    push = ven_settings_of(settings.vtn[0]).push
    assert push is not None
    assert [
        push.key_file,
        ven_settings_of(settings.vtn[0]).tls.key_file,
        ven3_settings(settings.vtn[1]).tls.key_file,
    ] == [key] * 3


def test_a_key_that_is_not_there_is_for_its_reader_to_tell(tmp_path: Path) -> None:
    assert private_key("vtn.client_key", tmp_path / "nowhere.pem") == tmp_path / "nowhere.pem"
    assert private_key("vtn.client_key", None) is None

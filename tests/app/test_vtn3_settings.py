"""What a deployment says about a 3.x VTN reaches its VEN."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.app.vtns import ven3_settings
from gateway.domain.errors import InvalidInput
from gateway.domain.signals import Instruction
from gateway.grid_settings import VtnSettings
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import OwnResource
from gateway.openadr.v3.wire import Target
from gateway.settings import load_settings

VTN = """
tenants = ["demo"]
[web]
allow_plain_on_loopback = true
[rpc]
allow_plain_on_loopback = true
[[vtn]]
authority = "vtn:dso"
tenant = "demo"
dialect = "3.1.0"
url = "https://vtn.example/openadr3/3.1.0"
ven_name = "voltbridge"
portfolio_node = "vpp"
poll = 30.0
[vtn.targets]
541448820000000015 = "site-1"
[vtn.v3]
"""


def vtn_of(folder: Path, more: str = "") -> VtnSettings:
    path = folder / "gateway.toml"
    path.write_text(VTN + more)
    return load_settings(path).vtn[0]


def test_a_3_x_vtn_needs_no_market_context_and_is_asked_anonymously_without_credentials(tmp_path: Path) -> None:
    told = ven3_settings(vtn_of(tmp_path))
    assert (told.dialect, told.credentials, told.registers) == (Dialect.V310, None, True)
    assert (told.own_nodes, dict(told.nodes)) == (("vpp",), {"541448820000000015": "site-1"})
    assert (told.poll_interval, told.survey_interval) == (timedelta(seconds=30), timedelta(minutes=15))
    assert not told.allow_plain_http


def test_everything_that_can_be_said_arrives(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    more = f"""
programs = ["GAC"]
resources = {{ depot = "site-2" }}
ask_targets = {{ GROUP = ["a", "b"] }}
client_id = "me"
client_secret_file = "{secret}"
token_url = "https://login.example/token"
scope = ""
registers = false
survey = 60.0
horizon = 86400.0
control_setpoint = "target-kw"
unasked_errors = true
private_payloads = {{ X_LIMIT = "import-limit-kw" }}
"""
    told = ven3_settings(vtn_of(tmp_path, more))
    assert told.programs == ("GAC",)
    assert told.resources == (OwnResource(name="depot", node="site-2"),)
    assert told.targets == (Target("GROUP", "a"), Target("GROUP", "b"))
    assert told.credentials is not None
    assert (told.credentials.client_id, told.credentials.client_secret, told.credentials.scope) == ("me", "s3cret", "")
    assert "s3cret" not in repr(told)
    assert (told.registers, told.horizon, told.survey_interval) == (False, timedelta(days=1), timedelta(minutes=1))
    assert told.control_setpoint is Instruction.TARGET_KW
    assert told.unasked_errors
    assert told.private_payloads["X_LIMIT"] is Instruction.IMPORT_LIMIT_KW


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ('client_id = "me"', "client_secret_file"),
        ('private_payloads = { X = "twice-as-much" }', "private_payloads"),
        ('control_setpoint = "limit"', "control_setpoint"),
        ('profile = "gac-9.9"', "profile"),
        ("frobnicate = 1", "frobnicate"),
    ],
    ids=["secret-missing", "instruction-unknown", "setpoint-unknown", "profile-unknown", "field-unknown"],
)
def test_what_is_wrong_is_named_at_the_start(tmp_path: Path, more: str, field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        ven3_settings(vtn_of(tmp_path, more))


def test_b20_plain_http_is_refused_at_the_start(tmp_path: Path) -> None:
    vtn = vtn_of(tmp_path).model_copy(update={"url": "http://127.0.0.1:8080/openadr3"})
    with pytest.raises(InvalidInput, match="vtn_url"):
        ven3_settings(vtn)
    assert ven3_settings(vtn.model_copy(update={"allow_plain_on_loopback": True})).allow_plain_http


def test_the_example_can_be_appended_to_the_bare_gateway(tmp_path: Path) -> None:
    config = Path(__file__).resolve().parents[2] / "config"
    secret = tmp_path / "dso"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    path = tmp_path / "gateway.toml"
    example = (config / "vtn_3.toml").read_text().replace("var/secrets/dso", str(secret))
    path.write_text((config / "gateway.toml").read_text() + example)
    [vtn] = load_settings(path).vtn
    told = ven3_settings(vtn)
    assert (told.dialect, told.programs, vtn.v3.mqtt) == (Dialect.V310, ("Grid Aware Charging",), True)
    assert dict(told.nodes) == {"541448820000000015": "site-1"}

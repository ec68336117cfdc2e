"""Settings about charging platforms: every key is in the example, and what no door can do is refused by its key."""

from pathlib import Path

import pytest

from gateway.csms_settings import (
    CitrineSection,
    CsmsListenerSettings,
    CsmsSettings,
    OcpiSection,
    WebhookSection,
)
from gateway.domain.errors import InvalidInput
from gateway.settings import Settings, load_settings
from tests.app.example_keys import CONFIG, keys_by_table

PLAIN = "[web]\nallow_plain_on_loopback = true\n[rpc]\nallow_plain_on_loopback = true\n"
LISTENER = '[csms_listener]\nport = 0\npublic_url = "https://vpp.example/callbacks"\n'


def told(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "gateway.toml"
    path.write_text(PLAIN + text)
    return load_settings(path)


def platform(more: str = "", **changes: str) -> str:
    said = {
        "name": "cpo",
        "tenant": "default",
        "kind": "ocpi-2.2.1",
        "url": "https://cpo.example/versions",
        "secret_file": "token",
    } | changes
    lines = [f'{key} = "{value}"' for key, value in said.items() if value]
    return "\n".join(["[[csms]]", *lines, more, ""])


SEALED = '[csms.ocpi]\nseal_key_file = "seal"\n'


def test_every_key_is_in_the_example() -> None:
    shown = keys_by_table("csms.toml")
    assert set(CsmsSettings.model_fields) == shown["csms"]
    assert set(OcpiSection.model_fields) == shown["csms.ocpi"]
    assert set(CitrineSection.model_fields) == shown["csms.citrineos"]
    assert set(WebhookSection.model_fields) == shown["csms.webhook"]
    assert set(CsmsListenerSettings.model_fields) == shown["csms_listener"]


def test_the_example_is_read(tmp_path: Path) -> None:
    settings = told(tmp_path, (CONFIG / "csms.toml").read_text())
    assert [(one.kind, one.best_class) for one in settings.csms] == [
        ("ocpi-2.2.1", "C"),
        ("citrineos", "A"),
        ("webhook", "B"),
    ]
    assert settings.csms[0].known_hosts == {"cpo.example", "ocpi.cpo.example"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (platform(SEALED), "csms_listener"),
        (LISTENER + platform(SEALED) + platform(SEALED), "csms[1].name"),
        (LISTENER + platform(SEALED, tenant="nobody"), "csms[0].tenant"),
        (LISTENER + platform(SEALED, enforcement="A"), "csms[0].enforcement"),
        (LISTENER + platform("", kind="webhook", enforcement="A"), "csms[0].enforcement"),
        (LISTENER + platform(), "csms[0].ocpi.seal_key_file"),
        (LISTENER + platform(SEALED, secret_file=""), "csms[0].secret_file"),
        (LISTENER + platform("", kind="webhook", url=""), "csms[0].url"),
        (LISTENER + platform(SEALED, kind="webhook"), "csms[0].ocpi"),
        (LISTENER + platform(SEALED + "[csms.webhook]\n"), "csms[0].webhook"),
        (
            LISTENER + platform("[csms.citrineos]\nstack_levels = [2, 1, 3]\n", kind="citrineos"),
            "csms[0].citrineos.stack_levels",
        ),
        (LISTENER + platform(SEALED, kind="ocpi-2.1.1"), "csms[0].kind"),
    ],
)
def test_what_no_door_can_do_is_refused(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        told(tmp_path, text)
    assert caught.value.field == field

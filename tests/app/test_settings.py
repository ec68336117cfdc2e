from pathlib import Path

import pytest

from gateway.domain.errors import InvalidInput
from gateway.settings import load_settings, read_secret

PLAIN = "[rpc]\nallow_plain_on_loopback = true\n[web]\nallow_plain_on_loopback = true\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def test_a_good_file_is_read(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, PLAIN + "[dispatch]\nlease = 900\n"))
    assert settings.dispatch.lease == 900
    assert settings.rpc.port == 50051


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLTBRIDGE_RPC__PORT", "6000")
    assert load_settings(written(tmp_path, PLAIN)).rpc.port == 6000


def test_plain_text_needs_an_explicit_word() -> None:
    with pytest.raises(InvalidInput, match="rpc.tls_certificate"):
        load_settings(None)


def test_plain_text_stays_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="rpc.tls_certificate"):
        load_settings(written(tmp_path, PLAIN.replace("[rpc]\n", '[rpc]\nhost = "0.0.0.0"\n')))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[rpc\n", "config"),
        ("[rpc]\nport = 70000\n", "rpc.port"),
        ("[rpc]\nprot = 1\n", "rpc.prot"),
        ("[dispatch]\nlease = 0\n", "dispatch.lease"),
        ('[[vtn]]\nauthority = "vtn:x"\n', "vtn[0].tenant"),
        ("log_level = 'LOUD'\n", "log_level"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings(written(tmp_path, text))
    assert caught.value.field == field


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere.toml"):
        load_settings(tmp_path / "nowhere.toml")


def test_a_secret_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    assert read_secret("token_file", path) == "s3cret"
    path.chmod(0o644)
    with pytest.raises(InvalidInput) as caught:
        read_secret("token_file", path)
    assert "s3cret" not in str(caught.value)


def test_an_empty_or_missing_secret_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_secret("token_file", path)
    path.touch(mode=0o600)
    with pytest.raises(InvalidInput, match="empty"):
        read_secret("token_file", path)

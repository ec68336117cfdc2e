"""Agreements about programs: from the file to the rules that services follow."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.app.services import opt_rules, signal_settings
from gateway.domain.errors import InvalidInput
from gateway.domain.series import CarbonKind, PriceProduct
from gateway.domain.signals import OptType
from gateway.grid_settings import ProgramSettings, check_leases
from gateway.services.decide_opt import OptMode
from gateway.settings import load_settings

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "programs.toml"
PLAIN = "[rpc]\nallow_plain_on_loopback = true\n[web]\nallow_plain_on_loopback = true\n"


def test_the_example_becomes_rules_of_both_services() -> None:
    settings = load_settings(EXAMPLE)
    agreed, meant = opt_rules(settings), signal_settings(settings)
    assert agreed["vtn:utility"].min_notice == timedelta(minutes=5)
    assert agreed["vtn:utility"].most_events_per_day == 2
    peak = agreed["vtn:utility:http://utility.example/peak-saver"]
    assert (peak.mode, peak.default_answer, peak.ask_within) == (OptMode.ASK, OptType.OPT_OUT, timedelta(minutes=15))
    assert agreed["vtn:dso"].mode is OptMode.CAPACITY
    emergency = meant.rules("vtn:utility", "http://utility.example/emergency")
    assert (emergency.is_mandatory, emergency.requires_enrolment) == (True, True)
    assert not meant.rules("vtn:utility", "http://utility.example/other").is_mandatory
    retail = meant.rules("vtn:retailer", "any")
    assert (retail.price_zone, retail.price_product) == ("retail-ev", PriceProduct.TARIFF_ENERGY)
    assert retail.carbon_kind is CarbonKind.MARGINAL
    assert settings.time_zones == dict.fromkeys(("vtn:utility", "vtn:dso", "vtn:retailer", "retail-ev"), "UTC")


def test_every_key_of_an_agreement_is_in_the_example() -> None:
    named = set(EXAMPLE.read_text().replace(" = ", " ").split())
    settings = load_settings(EXAMPLE)
    assert set(type(settings.program[0]).model_fields) <= named


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[[program]]\nauthority = "a"\n[[program]]\nauthority = "a"\n', "program[1].program"),
        ('[[program]]\nopt = "ask"\n', "program[0].authority"),
        ('[[program]]\nauthority = "a"\nopt = "never"\n', "program[0].opt"),
        ('[[program]]\nauthority = "a"\nask_default = "perhaps"\n', "program[0].ask_default"),
        ('[[program]]\nauthority = "a"\nmin_notice = -1\n', "program[0].min_notice"),
        ('[[program]]\nauthority = "a"\nunknown = 1\n', "program[0].unknown"),
    ],
    ids=["twice", "nobody", "mode", "answer", "notice", "unknown"],
)
def test_a_wrong_agreement_is_named(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(PLAIN + text)
    with pytest.raises(InvalidInput) as caught:
        load_settings(path)
    assert caught.value.field == field


def test_two_sources_of_one_tariff_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        PLAIN
        + '[tariff]\nzone = "SCE"\ntime_zone = "America/Los_Angeles"\ncurrency = "USD"\nfile = "t.json"\nlicence = "own"\n'
        + '[[program]]\nauthority = "a"\nprice_zone = "SCE"\nprice_product = "tariff-energy"\n'
    )
    with pytest.raises(InvalidInput) as caught:
        load_settings(path)
    assert caught.value.field == "program[0].price_zone"


@pytest.mark.parametrize(
    ("lease", "own", "named"),
    [(300.0, None, None), (301.0, None, "dispatch.lease"), (120.0, 900.0, r"csms\[0\].lease")],
    ids=["short-enough", "everybody", "one-platform"],
)
def test_a_lease_longer_than_a_program_allows_is_refused(lease: float, own: float | None, named: str | None) -> None:
    program = ProgramSettings(authority="vtn:utility", longest_lease=300.0)
    leases = {"dispatch.lease": lease, **({} if own is None else {"csms[0].lease": own})}
    if named is None:
        check_leases([program], leases)
        return
    with pytest.raises(InvalidInput, match=rf"program\[0\].longest_lease.*{named} is"):
        check_leases([program], leases)


def test_the_rule_about_leases_is_read_from_the_file(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("longest_lease = 300.0", "longest_lease = 100.0")
    file = tmp_path / "programs.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match="dispatch.lease is 120 s"):
        load_settings(file)


@pytest.mark.parametrize(("value", "collar"), [("inf", float("inf")), ("20", 20.0)])
def test_g11_the_collar_of_a_partner_is_set_in_the_file(tmp_path: Path, value: str, collar: float) -> None:
    path, line = tmp_path / "gateway.toml", "most_times_rating = 100 "
    path.write_text(EXAMPLE.read_text().replace(line, f"most_times_rating = {value} "))
    rules = signal_settings(load_settings(path)).rules("vtn:utility", "http://utility.example/emergency")
    assert rules.most_times_rating == collar
    path.write_text(EXAMPLE.read_text().replace(line, "most_times_rating = 0.5 "))
    with pytest.raises(InvalidInput) as caught:
        load_settings(path)
    assert caught.value.field.endswith("most_times_rating")

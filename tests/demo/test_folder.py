import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.folder import fresh_folder, generate_logins, toml_text

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-. é", min_size=1, max_size=8)
SCALARS = (
    st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
)
TABLES = st.recursive(
    st.dictionaries(NAMES, SCALARS | st.lists(SCALARS.filter(lambda v: not isinstance(v, float)), max_size=3)),
    lambda inner: st.dictionaries(NAMES, SCALARS | inner | st.lists(inner, min_size=1, max_size=3)),
    max_leaves=10,
)


@given(TABLES)
def test_what_is_written_is_read_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(table)) == table


def test_an_absent_value_is_left_out() -> None:
    assert tomllib.loads(toml_text({"a": None, "b": {"c": None, "d": 0}})) == {"b": {"d": 0}}


def test_a_secret_is_the_owners_alone(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path / "run")
    path = folder.write_secret("token", "s3cret")
    assert path.read_text() == "s3cret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.write_secret("token", "other").read_text() == "other"


def test_a_fresh_folder_holds_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    fresh_folder(tmp_path / "run").write_secret("token", "old")
    assert list(fresh_folder(tmp_path / "run").path.iterdir()) == []


def test_logins_differ_between_people_and_runs() -> None:
    one, other = generate_logins(), generate_logins()
    secrets = [login.password for run in (one, other) for login in run.values()]
    secrets += [login.token for run in (one, other) for login in run.values()]
    assert len(set(secrets)) == len(secrets)
    assert one["trader"].roles == ("trader",)
    assert one["approver"].roles == ("approver",)

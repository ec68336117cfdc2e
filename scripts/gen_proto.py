#!/usr/bin/env python3
"""Generates `gateway/v1` from `proto/gateway/v1`: messages, gRPC stubs and types for both.

`python -m scripts.gen_proto` writes the files; `--check` changes nothing and fails when one differs, is missing or is
left over. The proto path equals the Python path, so the generated imports need no rewriting.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("gateway/v1")
_GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


class ProtocError(Exception):
    """The compiler refused the contract; the text is its own."""


def include_arguments(proto: Path) -> list[str]:
    """Return the folders in which imports are looked up: ours, protobuf's and googleapis' own."""
    well_known = resources.files("grpc_tools") / "_proto"
    site_packages = resources.files("google.rpc") / ".." / ".."
    return [f"-I{proto}", f"-I{well_known}", f"-I{Path(str(site_packages)).resolve()}"]


def run_protoc(proto: Path, outputs: list[str]) -> None:
    """Run the protocol compiler over every file of the contract.

    Raises:
        ProtocError: The contract does not compile.
    """
    sources = sorted(str(path) for path in (proto / PACKAGE).glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", *include_arguments(proto), *outputs, *sources]
    # The mypy-protobuf plug-ins stand beside the interpreter, on PATH only in an activated environment.
    plugins = [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
    ]
    done = subprocess.run([*command[:3], *plugins, *command[3:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProtocError(done.stderr.strip())


def generate(proto: Path, target: Path) -> None:
    """Write all generated files below `target`, in the folder of the package."""
    run_protoc(
        proto,
        [f"--python_out={target}", f"--grpc_python_out={target}", f"--mypy_out={target}", f"--mypy_grpc_out={target}"],
    )


def generated_files(folder: Path) -> dict[str, bytes]:
    """Return name and content of the generated files in a folder."""
    return {path.name: path.read_bytes() for pattern in _GENERATED for path in sorted(folder.glob(pattern))}


def find_drift(fresh: dict[str, bytes], committed: dict[str, bytes]) -> list[str]:
    """Return one sentence for each committed file that is not what the contract generates."""
    drift = [f"{name} is missing" for name in sorted(fresh.keys() - committed.keys())]
    drift += [f"{name} has no proto file any more" for name in sorted(committed.keys() - fresh.keys())]
    drift += [f"{name} differs" for name in sorted(fresh.keys() & committed.keys()) if fresh[name] != committed[name]]
    return drift


def write_generated(fresh: dict[str, bytes], folder: Path) -> None:
    """Replace the generated files of a folder; files that already are right keep their time stamps."""
    committed = generated_files(folder)
    for name in committed.keys() - fresh.keys():
        (folder / name).unlink()
    for name, content in fresh.items():
        if committed.get(name) != content:
            (folder / name).write_bytes(content)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Generate or compare; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/gen_proto.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only, fail on a difference")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="voltbridge-proto-") as scratch:
        try:
            generate(root / "proto", Path(scratch))
        except ProtocError as error:
            print(error, file=sys.stderr)
            return 1
        fresh = generated_files(Path(scratch) / PACKAGE)
    if not options.check:
        write_generated(fresh, root / PACKAGE)
        print(f"{len(fresh)} files in {PACKAGE}")
        return 0
    drift = find_drift(fresh, generated_files(root / PACKAGE))
    for line in drift:
        print(f"{PACKAGE}/{line}: run scripts/gen_proto.py", file=sys.stderr)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())

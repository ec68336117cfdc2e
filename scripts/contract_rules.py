"""Lints the contract and compares it with what was released: buf on a compiled image, so that nothing is fetched.

`python -m scripts.contract_rules lint|breaking`. Before the first release is tagged a breaking change is reported and
allowed; from the tag on it fails. The comparison is with the newest release tag, before that with the last commit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts import gen_proto

ROOT = Path(__file__).resolve().parent.parent
FIRST_RELEASE = "v0.1"


def build_image(proto: Path, image: Path) -> None:
    """Compile the contract with everything it imports into one descriptor set.

    Raises:
        ProtocError: The contract does not compile.
    """
    gen_proto.run_protoc(proto, ["--include_imports", "--include_source_info", f"--descriptor_set_out={image}"])


def lint_image(image: Path, root: Path) -> list[str]:
    """Return one line for each breach of the rules in `buf.yaml`."""
    return _buf(["lint", str(image), "--path", "gateway", "--config", str(root / "buf.yaml")])


def compare_images(image: Path, reference: Path, root: Path) -> list[str]:
    """Return one line for each change that breaks a client built from the reference."""
    arguments = ["breaking", str(image), "--against", str(reference), "--path", "gateway"]
    return _buf([*arguments, "--config", str(root / "buf.yaml")])


def _buf(arguments: list[str]) -> list[str]:
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0 and not (done.stdout + done.stderr).strip():
        raise gen_proto.ProtocError(f"buf {arguments[0]} failed without a word, code {done.returncode}")
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()


def find_reference(root: Path) -> str | None:
    """Return the newest release tag, the last commit before any release, None outside a repository."""
    tags = _git(root, "tag", "--list", "v*", "--sort=-version:refname", "--merged", "HEAD")
    if tags is not None and tags.split():
        return tags.split()[0].decode()
    head = _git(root, "rev-parse", "--verify", "HEAD")
    return head.decode().strip() if head is not None else None


def is_released(root: Path) -> bool:
    """Return whether the contract was released, so that clients rely on it."""
    return bool((_git(root, "tag", "--list", "v*", "--merged", "HEAD") or b"").split())


def extract_contract(root: Path, reference: str, target: Path) -> bool:
    """Write the contract as of `reference` below `target`; False when there was none yet."""
    listing = _git(root, "ls-tree", "-r", "--name-only", reference, "proto")
    names = (listing or b"").decode().splitlines()
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_git(root, "show", f"{reference}:{name}") or b"")
    return bool(names)


def _git(root: Path, *arguments: str) -> bytes | None:
    """Return what git prints, None where it fails, for example outside a repository or without git."""
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def check_lint(root: Path) -> int:
    """Print the breaches of the lint rules; return 1 when there are any."""
    with tempfile.TemporaryDirectory(prefix="voltbridge-proto-") as scratch:
        image = Path(scratch) / "contract.binpb"
        build_image(root / "proto", image)
        lines = lint_image(image, root)
    print("\n".join(lines))
    return 1 if lines else 0


def check_breaking(root: Path) -> int:
    """Print what breaks clients of the reference; return 1 when the contract was released and something does."""
    reference = find_reference(root)
    with tempfile.TemporaryDirectory(prefix="voltbridge-proto-") as scratch:
        folder = Path(scratch)
        if reference is None or not extract_contract(root, reference, folder):
            print("no earlier contract to compare with")
            return 0
        build_image(root / "proto", folder / "now.binpb")
        build_image(folder / "proto", folder / "then.binpb")
        lines = compare_images(folder / "now.binpb", folder / "then.binpb", root)
    released = is_released(root)
    print("\n".join(lines) if lines else f"compatible with {reference[:12]}")
    if lines and not released:
        print(f"allowed: nothing is released yet; from the tag {FIRST_RELEASE} on this fails")
    return 1 if lines and released else 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run one of the two checks; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts.contract_rules", description=__doc__.partition("\n")[0])
    parser.add_argument("check", choices=["lint", "breaking"])
    options = parser.parse_args(arguments)
    try:
        return check_lint(root) if options.check == "lint" else check_breaking(root)
    except gen_proto.ProtocError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""`voltbridge` and `python -m gateway`."""

import sys


def main() -> None:
    """Run the command line; a wrong input ends with one precise line and exit code 2."""
    try:
        from gateway.cli.commands import run  # noqa: PLC0415  # the base distribution has no typer
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error.name} is missing: install voltbridge[server] to run the service\n")
        sys.exit(3)
    run()


if __name__ == "__main__":
    main()

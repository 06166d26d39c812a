"""``python -m agent_runtime --check`` tells whether a project is fit to start.

Run in the project's folder; checks the specification against its schema and the capability table
against the specification. Exit status 0 when all is well, 2 with one sentence when not.
"""

import argparse
import importlib
import sys

from agent_runtime.errors import StartError
from agent_runtime.settings import VERSION, Settings
from agent_runtime.spec import digest_of, read_spec_file
from agent_runtime.spec_check import check_spec, check_table


def main(arguments: list[str] | None = None) -> int:
    """Run the check and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m agent_runtime", description=__doc__)
    parser.add_argument("--check", action="store_true", help="check this project and exit")
    parser.add_argument("--version", action="version", version=f"agent_runtime {VERSION}")
    if not parser.parse_args(arguments).check:
        parser.print_help()
        return 2
    try:
        raw = read_spec_file(Settings.from_environment().spec_file)
        check_spec(raw)
        check_table(raw, _table())
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    count = len(raw["capabilities"])
    sys.stdout.write(f"{raw['agent_id']}: {count} capabilities, digest {digest_of(raw)}\n")
    return 0


def _table() -> dict[str, object]:
    sys.path.insert(0, "")
    try:
        module = importlib.import_module("capabilities")
    except Exception as error:
        # The project's own code may fail in any way while it is imported.
        raise StartError(
            f"The project's capabilities cannot be imported: {type(error).__name__}: {error}."
        ) from error
    table = getattr(module, "CAPABILITIES", None)
    if not isinstance(table, dict):
        raise StartError("capabilities/__init__.py has no dictionary called CAPABILITIES.")
    return table


if __name__ == "__main__":
    sys.exit(main())

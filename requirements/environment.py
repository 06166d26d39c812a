"""Make the project's own Python environment (.venv) from a hashed lock, or find it made.

`python3 requirements/environment.py run|dev|lock`: `run` is what the product needs, `dev` adds
what tests and lints need, `lock` writes both locks anew. Uses the standard
library only, with whatever index the machine's pip uses.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
STAMP = VENV / "agent-factory.json"
OLDEST = (3, 11)

# What pip calls a setting, and what uv does. pip separates several values by blanks.
UV_NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "proxy": ("ALL_PROXY", " "),
    "no-index": ("UV_NO_INDEX", " "),
}


class SetupError(Exception):
    """Something a person has to put right; the text is one sentence that says what to do."""


def main(arguments: list[str]) -> int:
    """Bring the environment up to date; return the exit code."""
    kind = arguments[0] if arguments else "run"
    try:
        check_python()
        if kind == "lock":
            lock()
            return 0
        wanted = digests()
        if is_current(kind, wanted):
            return 0
        make(kind, wanted)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def check_python() -> None:
    """Raise SetupError when this Python is too old."""
    if sys.version_info < OLDEST:
        version = sys.version.split()[0]
        raise SetupError(f"Python {version} is too old: install Python 3.11 or newer.")


def digests() -> dict[str, str]:
    """Return what the environment is made of: each lock's SHA-256 and the Python version."""
    found = {
        kind: hashlib.sha256((LOCKS / f"{kind}.lock").read_bytes()).hexdigest()
        for kind in ("run", "dev")
    }
    return {**found, "python": sys.version.split()[0]}


def is_current(kind: str, wanted: dict[str, str]) -> bool:
    """Tell whether the environment already has what `kind` needs."""
    try:
        made = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    # `dev` is made of both locks, so it serves `run` too.
    keys = ("python", "run") if kind == "run" else ("python", "run", "dev")
    return python_runs() and all(made.get(key) == wanted[key] for key in keys)


def python_runs() -> bool:
    """Tell whether the environment's Python is there (its own may have been removed)."""
    return (VENV / "bin" / "python").exists()


def make(kind: str, wanted: dict[str, str]) -> None:
    """Install `kind`, from scratch where the environment is missing or of another Python."""
    say(f"Setting up .venv for '{kind}' (once; takes longer while packages are downloaded) …")
    try:
        same_python = json.loads(STAMP.read_text()).get("python") == wanted["python"]
    except (OSError, ValueError):
        same_python = False
    STAMP.unlink(missing_ok=True)
    if not (same_python and python_runs()):
        make_venv()
    python = VENV / "bin" / "python"
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    locked = ["--require-hashes", "-r", str(LOCKS / "uv.lock")]
    run([str(python), "-m", "pip", "install", "-qq", "--no-deps", *locked], environment)
    uv = [str(VENV / "bin" / "uv"), "pip", "sync", "-q", "--python", str(python)]
    run([*uv, "--require-hashes", str(LOCKS / f"{kind}.lock")], uv_environment(python))
    made = {"python": wanted["python"], "run": wanted["run"]}
    if kind == "dev":
        made["dev"] = wanted["dev"]
    STAMP.write_text(json.dumps(made))


def lock() -> None:
    """Write the locks anew from pyproject.toml, without addresses.

    Versions stay as they are where they still fit; UPGRADE=1 takes the newest allowed ones.
    """
    python = VENV / "bin" / "python"
    environment = {**uv_environment(python), "UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    compile_ = [str(VENV / "bin" / "uv"), "pip", "compile", "-q", "--python", str(python)]
    compile_ += ["--universal", "--python-version", "3.11", "--generate-hashes"]
    if os.environ.get("UPGRADE") == "1":
        compile_.append("--upgrade")
    compile_ += ["--no-emit-index-url", "--no-emit-find-links"]
    source, run_lock = "pyproject.toml", "requirements/run.lock"
    run([*compile_, source, "-o", run_lock], environment)
    dev = [*compile_, source, "--group", "dev", "-c", run_lock, "-o", "requirements/dev.lock"]
    run(dev, environment)
    # The installer alone, as the newest `dev` has it, for pip to install first.
    lines = (LOCKS / "dev.lock").read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith("uv=="))
    end = start + 1
    while lines[end].lstrip().startswith("--hash"):
        end += 1
    (LOCKS / "uv.lock").write_text("".join(lines[:2] + lines[start:end]))


def make_venv() -> None:
    """Make an empty environment in place of what is there."""
    try:
        import ensurepip  # noqa: F401 - some systems leave it out
        import venv
    except ImportError as error:
        raise SetupError(
            f"This Python ({sys.executable}) cannot make environments: install its 'venv' package "
            "(on Debian and Ubuntu: apt install python3-venv) and try again."
        ) from error
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"{VENV} cannot be made ({error}): check the folder's rights.") from error


def uv_environment(python: Path) -> dict[str, str]:
    """Return the environment in which uv uses the index, proxy and certificates that pip uses."""
    environment = {
        **os.environ,
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink"),
        # As pip does with several indexes; every file is checked against its hash.
        "UV_INDEX_STRATEGY": os.environ.get("UV_INDEX_STRATEGY", "unsafe-best-match"),
    }
    listing = subprocess.run(
        [str(python), "-m", "pip", "config", "list"], capture_output=True, check=False, text=True
    )
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = value.strip("'\"")
    settings = {**found["global"], **found["install"], **found[":env:"]}
    for key, value in settings.items():
        if key in UV_NAMES:
            uv_name, separator = UV_NAMES[key]
            environment.setdefault(uv_name, separator.join(value.replace("\\n", " ").split()))
    return environment


def run(command: list[str], environment: dict[str, str]) -> None:
    """Run one step. Raises SetupError with its output above."""
    if subprocess.run(command, env=environment, check=False, cwd=ROOT).returncode != 0:
        raise SetupError(
            "The packages could not be installed (see above): check the network and pip's index, "
            "then run the same command again."
        )


def say(text: str) -> None:
    """Tell a person."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Running bandit over a project's code, inside this process: starting it would take a second."""

import logging
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from templates_lib.ruff import Finding

# 0.0.0.0, words that sound like passwords, /tmp: all of them read constants, not code.
_CONSTANT_RULES: Final = frozenset({"B104", "B105", "B106", "B107", "B108"})


def security_findings(folder: Path, paths: Iterable[str]) -> list[Finding]:
    """Return what bandit finds in the Python files ``paths`` below ``folder``."""
    manager = _new_manager()
    manager.discover_files([str(folder / path) for path in paths])
    manager.run_tests()
    skipped = [
        Finding(Path(name).relative_to(folder).as_posix(), 1, "bandit", str(reason))
        for name, reason in manager.skipped
    ]
    return skipped + [
        Finding(
            Path(issue.fname).relative_to(folder).as_posix(),
            issue.lineno,
            issue.test_id,
            issue.text,
        )
        for issue in manager.results
    ]


def _new_manager() -> Any:
    config_class, manager_class = _bandit()
    return manager_class(
        config_class(),
        "file",
        # "# nosec" is no way around the gate.
        ignore_nosec=True,
        quiet=True,
        profile={"include": set(), "exclude": set(_CONSTANT_RULES)},
    )


@cache
def _bandit() -> tuple[Any, Any]:
    """Load bandit when the first project is checked: few processes ever check one."""
    # Its plug-in loader complains about report formats that nobody asked for, and is called by
    # bandit in a way that it is about to drop.
    logging.getLogger("stevedore").setLevel(logging.CRITICAL)
    logging.getLogger("bandit").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from bandit.core.config import BanditConfig
        from bandit.core.manager import BanditManager
    return BanditConfig, BanditManager

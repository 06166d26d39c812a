"""The program inside every agent.

An agent's ``main.py`` hands its capability table to :func:`serve`; a capability's module is given
a :class:`Context` through which it reaches its memory, its model and other services. Names are
loaded when they are first used, so that a check or a test pays only for what it needs.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agent_runtime.context import Context, Handler
    from agent_runtime.errors import Problem
    from agent_runtime.serving import serve
    from agent_runtime.spec import JsonObject

__all__ = ["Context", "Handler", "JsonObject", "Problem", "serve"]

_HOME: Final = {
    "Context": "agent_runtime.context",
    "Handler": "agent_runtime.context",
    "JsonObject": "agent_runtime.spec",
    "Problem": "agent_runtime.errors",
    "serve": "agent_runtime.serving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)

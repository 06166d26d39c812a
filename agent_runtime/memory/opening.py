"""Opens the memory that a specification asks for."""

from typing import TYPE_CHECKING

from agent_runtime.errors import Code, Problem

if TYPE_CHECKING:
    from agent_runtime.memory.contexts import ContextMemory
    from agent_runtime.memory.long_term import LongTermMemory
    from agent_runtime.redis_client import RedisClient
    from agent_runtime.runtime import Runtime


def open_memory(runtime: "Runtime") -> "ContextMemory":
    """Return the memory of ``runtime``; connections are opened with its first use.

    Raises:
        Problem: the agent has none, or its credentials do not say where it is.

    """
    memory = runtime.spec.memory
    prefix = runtime.credentials.key_prefix if runtime.credentials else ""
    if memory.kind == "short_term":
        from agent_runtime.memory.short_term import ShortTermMemory

        return ShortTermMemory(_redis(runtime), prefix, memory)
    if memory.kind == "long_term":
        return _long_term(runtime)
    if memory.kind == "hybrid":
        from agent_runtime.memory.hybrid import HybridMemory

        return HybridMemory(_long_term(runtime), _redis(runtime), prefix, memory)
    raise Problem(
        Code.DEPENDENCY_DOWN,
        "This agent has no memory: set its memory to short-term, long-term or hybrid, and deploy "
        "it again.",
    )


def _redis(runtime: "Runtime") -> "RedisClient":
    if runtime.redis is None:
        raise _not_told("redis_url")
    return runtime.redis


def _long_term(runtime: "Runtime") -> "LongTermMemory":
    from agent_runtime.memory.long_term import LongTermMemory
    from agent_runtime.memory.tables import configuration_for
    from agent_runtime.memory.vectors import VectorIndex

    if runtime.database is None or runtime.credentials is None:
        raise _not_told("database_url")
    model = runtime.credentials.embedding_model
    vectors = VectorIndex(runtime, model) if model is not None and not runtime.offline else None
    return LongTermMemory(
        runtime.database,
        runtime.spec.memory,
        configuration_for(runtime.spec.raw.get("languages", ["en"])),
        vectors,
    )


def _not_told(name: str) -> Problem:
    return Problem(
        Code.DEPENDENCY_DOWN,
        f"The agent was not told where its memory is ({name}): deploy it again.",
    )

"""``memory.store``: keep a text for a customer."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_runtime.memory.contexts import (
    MAX_CUSTOMER_ID,
    MAX_TEXT,
    StoredContext,
    new_context_id,
    read_metadata,
    read_text,
)
from agent_runtime.runtime import Runtime
from agent_runtime.spec import JsonObject

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger


async def store(runtime: Runtime, payload: JsonObject, log: "BoundLogger") -> JsonObject:
    """Take ``{customer_id, text, metadata?}``; give ``{status: "stored", context_id}``.

    Raises:
        Problem: a field is not usable, or the memory is down.

    """
    context = StoredContext(
        context_id=new_context_id(),
        customer_id=read_text(payload, "customer_id", MAX_CUSTOMER_ID) or "",
        text=read_text(payload, "text", MAX_TEXT) or "",
        metadata=read_metadata(payload),
        created_at=datetime.now(UTC),
    )
    log.info("storing context", characters=len(context.text))
    await runtime.memory().store(context)
    log.info("context stored", context_id=context.context_id)
    return {"status": "stored", "context_id": context.context_id}

"""``memory.retrieve``: the newest texts of a customer."""

from typing import TYPE_CHECKING

from agent_runtime.memory.contexts import MAX_CUSTOMER_ID, MAX_LIMIT, read_number, read_text
from agent_runtime.runtime import Runtime
from agent_runtime.spec import JsonObject

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger


async def retrieve(runtime: Runtime, payload: JsonObject, log: "BoundLogger") -> JsonObject:
    """Take ``{customer_id, limit?: 10}``; give ``{contexts, count}``, newest first.

    Raises:
        Problem: a field is not usable, or the memory is down.

    """
    customer_id = read_text(payload, "customer_id", MAX_CUSTOMER_ID)
    limit = read_number(payload, "limit", 10, MAX_LIMIT)
    log.info("retrieving contexts", limit=limit)
    contexts = await runtime.memory().recent(customer_id, limit)
    log.info("contexts retrieved", count=len(contexts))
    return {"contexts": [context.to_json() for context in contexts], "count": len(contexts)}

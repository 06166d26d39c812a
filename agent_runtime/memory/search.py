"""``memory.search``: the texts that answer a question best."""

from typing import TYPE_CHECKING

from agent_runtime.memory.contexts import (
    MAX_CUSTOMER_ID,
    MAX_LIMIT,
    MAX_QUERY,
    read_number,
    read_text,
)
from agent_runtime.runtime import Runtime
from agent_runtime.spec import JsonObject

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger


async def search(runtime: Runtime, payload: JsonObject, log: "BoundLogger") -> JsonObject:
    """Take ``{query, customer_id?, limit?: 5}``; give ``{results, method, count}``, best first.

    Raises:
        Problem: a field is not usable, or the memory is down.

    """
    query = read_text(payload, "query", MAX_QUERY) or ""
    customer_id = read_text(payload, "customer_id", MAX_CUSTOMER_ID, required=False)
    limit = read_number(payload, "limit", 5, MAX_LIMIT)
    log.info("searching contexts", limit=limit)
    found = await runtime.memory().search(query, customer_id, limit)
    log.info("contexts found", count=len(found.hits), method=found.method)
    return {
        "results": [hit.to_json() for hit in found.hits],
        "method": found.method,
        "count": len(found.hits),
    }

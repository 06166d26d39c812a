"""What the views' entries in the API's description share."""

from typing import Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Sending the same request again with the same key does it once.",
)

_AGENT: Final = {
    "template_id": "memory-agent",
    "agent_id": "WowCustomerContext",
    "name": "Customer Context Agent",
    "display_name": "Customer Context Manager",
    "description": "Stores customer conversation history",
    "tier": 3,
    "capabilities": [
        "store_context",
        "retrieve_context",
        "search_context",
        "summarize_context",
        {
            "name": "analyze_sentiment",
            "description": "Analyze customer sentiment from conversation",
            "input_schema": {"text": "string", "customer_id": "string"},
            "output_schema": {"sentiment": "positive|neutral|negative", "confidence": "float"},
            "timeout_seconds": 30,
        },
    ],
    "tools": ["Redis", "VectorDB", "Embeddings"],
    "resources": {"cpu_cores": 1, "memory_mb": 4096, "storage_gb": 10},
    "policies": {"retry": {"max_attempts": 3}, "rate_limit_per_minute": 100},
}
AGENT_EXAMPLE: Final = OpenApiExample("A memory agent", value=_AGENT, request_only=True)
VALIDATION_EXAMPLE: Final = OpenApiExample(
    "What to look at",
    value={
        "valid": True,
        "errors": [],
        "warnings": ["Memory usage high for tier 3. Consider tier 4."],
        "suggestions": ["Add health check capability for better monitoring"],
        "findings": [
            {
                "tier": "policy",
                "rule": "memory_high",
                "severity": "warning",
                "field": "resources.memory_mb",
                "message": "Memory usage high for tier 3. Consider tier 4.",
            },
            {
                "tier": "structure",
                "rule": "health_check_missing",
                "severity": "suggestion",
                "field": "capabilities",
                "message": "Add health check capability for better monitoring",
            },
        ],
    },
    response_only=True,
    status_codes=["200"],
)
COST_EXAMPLES: Final = [
    OpenApiExample(
        "One core, 4 GB",
        value={
            "tier": 3,
            "resources": {"cpu_cores": 1, "memory_mb": 4096, "storage_gb": 10},
            "usage_estimates": {"requests_per_month": 100000, "avg_duration_seconds": 2},
        },
        request_only=True,
    ),
    OpenApiExample(
        "Its price",
        value={
            "monthly_cost_inr": 15000,
            "breakdown": {
                "compute": 8000,
                "memory": 4000,
                "storage": 1000,
                "network": 1000,
                "other": 1000,
            },
            "comparison": {"tier_2": 10000, "tier_3": 15000, "tier_4": 22000},
        },
        response_only=True,
        status_codes=["200"],
    ),
]
TEST_EXAMPLE: Final = OpenApiExample(
    "Store a context",
    value={
        "agent_config": _AGENT,
        "test_scenarios": [
            {
                "name": "Store Context",
                "input": {"customer_id": "cust-123", "text": "Customer wants premium plan"},
                "expected_output": {"status": "stored"},
            }
        ],
    },
    request_only=True,
)

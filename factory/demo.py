"""The whole road through the public API, as a program would go it: ``make demo``.

Makes a memory agent, tests it in the sandbox, deploys and activates it, stores every topic of
Python's own help as a context and asks twenty questions in plain words. Needs the product running.

Reads ``FACTORY_URL`` (http://127.0.0.1:8000), ``FACTORY_TOKEN`` (an API token) or
``FACTORY_USER`` and ``FACTORY_ADMIN_PASSWORD``, and, for the second round, the OpenAI-compatible
endpoint ``DEMO_EMBEDDINGS_URL``, ``DEMO_EMBEDDINGS_MODEL``, ``DEMO_EMBEDDINGS_DIMENSIONS`` and
``DEMO_EMBEDDINGS_SECRET`` (the name of a secret).
"""

import getpass
import os
import re
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any, Final, Self

import httpx

from factory.demo_questions import QUESTIONS

FACTORY: Final = "/api/platform/agent-factory"
POLL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 180.0
HITS_AT: Final = 5


class DemoError(Exception):
    """The demo can't go on; the message says why and what to do."""


@dataclass(frozen=True)
class Score:
    """How well and how fast one round of questions went."""

    method: str
    hits: int
    store_ms: float
    search_ms: float


class Client:
    """The public API, with errors turned into sentences."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def sign_in(self) -> None:
        """Use the API token if there is one, else user name and password."""
        token = os.environ.get("FACTORY_TOKEN")
        if token:
            self._http.headers["Authorization"] = f"Token {token}"
            return
        user = os.environ.get("FACTORY_USER", "admin")
        password = os.environ.get("FACTORY_ADMIN_PASSWORD")
        if not password:
            if not sys.stdin.isatty():
                raise DemoError("Set FACTORY_TOKEN, or FACTORY_USER and FACTORY_ADMIN_PASSWORD.")
            password = getpass.getpass(f"Password of {user}: ")
        answer = self.call("POST", "/api/auth/token", {"username": user, "password": password})
        self._http.headers["Authorization"] = f"Bearer {answer['access']}"

    def call(self, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> Any:
        """Return the JSON answer, ``None`` for an empty one.

        Raises:
            DemoError: the product is not there, or it refused, with its own sentence.

        """
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DemoError(
                f"{self.url} does not answer ({type(error).__name__}). Start it with: make run"
            ) from error
        if missing_ok and answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise DemoError(f"{method} {path}: {_sentence(answer)}")
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise DemoError(
                f"What answers at {self.url} is not Agent Factory. Set FACTORY_URL."
            ) from None


def _sentence(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        fields = [f"{e['attr']}: {e['detail']}" for e in problem.get("errors", [])]
        return " ".join([problem["detail"], *fields])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"answered {answer.status_code}"


def agent_request(agent_id: str, embeddings: dict[str, Any] | None) -> dict[str, Any]:
    """Return the body that asks for the memory agent."""
    request: dict[str, Any] = {
        "template_id": "memory-agent",
        "agent_id": agent_id,
        "name": "Python Help Agent",
        "display_name": "Python Help",
        "description": "Remembers Python's own help topics and finds the one that answers.",
        "tier": 3,
        "policies": {"rate_limit_per_minute": 10_000},
    }
    if embeddings:
        request["tools"] = [
            {"tool": "redis"},
            {"tool": "vectordb"},
            {"tool": "embeddings-api", **embeddings},
        ]
    return request


def deploy(client: Client, request: dict[str, Any]) -> str:
    """Go from request to active agent, saying each step; return the agent's id."""
    agent_id = str(request["agent_id"])
    if client.call("GET", f"/api/agents/{agent_id}", missing_ok=True) is not None:
        say(f"Removing the {agent_id} of an earlier run")
        remove(client, agent_id)

    report = client.call("POST", f"{FACTORY}/validate", request)
    say(f"Validated: {'valid' if report['valid'] else 'not valid'}", *report["warnings"])
    cost = client.call("POST", f"{FACTORY}/estimate-cost", {"tier": request["tier"]})
    say(f"Estimated cost: ₹{cost['monthly_cost_inr']:,}/month")

    test = client.call(
        "POST",
        f"{FACTORY}/test",
        {
            "agent_config": request,
            "test_scenarios": [
                {
                    "name": "Store Context",
                    "input": {"customer_id": "cust-123", "text": "Customer wants premium plan"},
                    "expected_output": {"status": "stored"},
                }
            ],
        },
    )
    path = f"{FACTORY}/test/{test['test_id']}/results"
    wait_for(lambda: client.call("GET", path)["status"] not in ("queued", "running"))
    for result in client.call("GET", path)["results"]:
        took = result["duration_ms"] or 0
        say(f"Sandbox: {result['scenario']}: {result['status']} ({took:.0f} ms)")

    client.call("POST", f"{FACTORY}/agents", request)
    follow(client, agent_id)
    client.call("POST", f"/api/agents/{agent_id}/activate")
    say(f"Active: {client.url}/agents/{agent_id}")
    return agent_id


def remove(client: Client, agent_id: str) -> None:
    """Undeploy the agent if it runs, then delete it."""
    path = f"{FACTORY}/agents/{agent_id}/provisioning"
    deployed = client.call("GET", path, missing_ok=True)
    if deployed is not None and deployed["status"] == "completed":
        client.call("POST", f"/api/agents/{agent_id}/undeploy")
        wait_for(lambda: client.call("GET", path)["status"] == "stopped")
    client.call("DELETE", f"/api/agents/{agent_id}")


def follow(client: Client, agent_id: str) -> None:
    """Print each provisioning step as it ends.

    Raises:
        DemoError: the deployment failed.

    """
    told: set[str] = set()
    state: dict[str, Any] = {}

    def ended() -> bool:
        nonlocal state
        state = client.call("GET", f"{FACTORY}/agents/{agent_id}/provisioning")
        for step in state["steps"]:
            if step["status"] != "pending" and step["status"] != "in_progress":
                name = f"{step['title']}: {step['status']}"
                if name not in told:
                    told.add(name)
                    say(f"{name} ({step['duration_seconds'] or 0:.1f} s)")
        return state["status"] not in ("pending", "provisioning", "rolling_back")

    wait_for(ended)
    if state["status"] != "completed":
        raise DemoError(f"The deployment ended as {state['status']}: {state.get('error')}")


def store_topics(client: Client, agent_id: str) -> float:
    """Store every help topic; return the median milliseconds per store."""
    times = []
    for name, text in topics.items():
        started = time.perf_counter()
        client.call(
            "POST",
            f"/api/agents/{agent_id}/invoke/store_context",
            {"customer_id": "python-help", "text": text, "metadata": {"topic": name}},
        )
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def ask(client: Client, agent_id: str) -> Score:
    """Store, ask all questions and print what came."""
    store_ms = store_topics(client, agent_id)
    say(f"Stored {len(topics)} topics, {store_ms:.1f} ms each (median)")
    times: list[float] = []
    hits = 0
    method = ""
    for question, answers in QUESTIONS:
        started = time.perf_counter()
        answer = client.call(
            "POST",
            f"/api/agents/{agent_id}/invoke/search_context",
            {"query": question, "limit": HITS_AT},
        )["output"]
        times.append((time.perf_counter() - started) * 1000)
        method = answer["method"]
        found = [result["metadata"]["topic"] for result in answer["results"]]
        hit = is_hit(found, answers)
        hits += hit
        print(f"  {'✓' if hit else '✗'} {question}\n      → {', '.join(found)}")  # noqa: T201 - a program for people
    return Score(method, hits, store_ms, statistics.median(times))


def is_hit(found: Iterable[str], answers: Iterable[str]) -> bool:
    """Whether one of the first topics found answers the question."""
    return not set(answers).isdisjoint(list(found)[:HITS_AT])


def substring_hits() -> int:
    """Count the hits of a plain ``ILIKE '%word%'`` of the question's words, most words first."""
    hits = 0
    for question, answers in QUESTIONS:
        words = set(re.findall(r"\w+", question.lower()))
        ranked = sorted(
            topics, key=lambda name: (-sum(w in topics[name].lower() for w in words), name)
        )
        hits += is_hit(ranked, answers)
    return hits


def wait_for(ended: Any) -> None:
    """Poll until ``ended()``.

    Raises:
        DemoError: it takes longer than anybody should wait.

    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ended():
        if time.monotonic() > deadline:
            raise DemoError("This takes too long. See the logs in the data folder.")
        time.sleep(POLL_SECONDS)


def say(*lines: str) -> None:
    """Tell the person what just happened."""
    for line in lines:
        print(f"• {line}", flush=True)  # noqa: T201 - a program for people


def embeddings_binding() -> dict[str, Any] | None:
    """Return the embeddings tool's binding, if the environment names an endpoint.

    Raises:
        DemoError: the environment names a length that is no number.

    """
    url = os.environ.get("DEMO_EMBEDDINGS_URL")
    if not url:
        return None
    dimensions = os.environ.get("DEMO_EMBEDDINGS_DIMENSIONS", "1536")
    if not (dimensions.isascii() and dimensions.isdigit()):
        raise DemoError("Set DEMO_EMBEDDINGS_DIMENSIONS to a whole number, as in 1536.")
    binding: dict[str, Any] = {
        "parameters": {
            "base_url": url,
            "model": os.environ.get("DEMO_EMBEDDINGS_MODEL", "text-embedding-3-small"),
            "dimensions": int(dimensions),
        }
    }
    if os.environ.get("DEMO_EMBEDDINGS_SECRET"):
        binding["secret"] = os.environ["DEMO_EMBEDDINGS_SECRET"]
    return binding


def run(url: str) -> list[Score]:
    """Go the whole road, once without and, if there is one, once with an embeddings endpoint."""
    rounds: list[tuple[str, dict[str, Any] | None]] = [("WowPythonHelp", None)]
    if binding := embeddings_binding():
        rounds.append(("WowPythonHelpVectors", binding))
    scores = []
    with Client(url) as client:
        client.sign_in()
        for agent_id, embeddings in rounds:
            deploy(client, agent_request(agent_id, embeddings))
            scores.append(ask(client, agent_id))
    for score in scores:
        say(
            f"{score.method}: hits@{HITS_AT} {score.hits}/{len(QUESTIONS)}, "
            f"{score.store_ms:.1f} ms per store, {score.search_ms:.1f} ms per search (medians)"
        )
    say(f"Plain ILIKE of the words: hits@{HITS_AT} {substring_hits()}/{len(QUESTIONS)}")
    return scores


def main() -> int:
    """Run the demo; 0 if all went well."""
    try:
        run(os.environ.get("FACTORY_URL", "http://127.0.0.1:8000").rstrip("/"))
    except (DemoError, httpx.InvalidURL) as error:
        print(f"The demo stopped. {error}", file=sys.stderr)  # noqa: T201 - a program for people
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

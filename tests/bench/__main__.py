"""Measure, print, and write ``docs/benchmarks.md``."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.bench.bare import BareDocker
from tests.bench.figures import Figure, Report, Samples, milliseconds
from tests.bench.load import Request, run_load
from tests.bench.product import FACTORY, Product

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CONNECTIONS = 20
LOAD_SECONDS = 5.0
POLL_SECONDS = 0.02
PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def agent_request(number: int) -> dict[str, Any]:
    """Return the body that asks for the memory agent of one round."""
    return {
        "template_id": "memory-agent",
        "agent_id": f"WowBench{number}",
        "name": f"Bench Agent {number}",
        "tier": 3,
        "policies": {"rate_limit_per_minute": 100_000},
        "skip_test_reason": "Deployed for a measurement.",
    }


def deploy(product: Product, number: int) -> tuple[float, dict[str, Any]]:
    """Deploy one agent; return the seconds from accepted to completed, and its state."""
    request = agent_request(number)
    product.call("POST", f"{FACTORY}/agents", request)
    started = time.perf_counter()
    while True:
        state = product.call("GET", f"{FACTORY}/agents/{request['agent_id']}/provisioning")
        if state["status"] == "completed":
            return time.perf_counter() - started, state
        if state["status"] not in ("pending", "provisioning"):
            raise RuntimeError(f"the deployment ended as {state['status']}: {state['error']}")
        time.sleep(POLL_SECONDS)


def sandbox(product: Product, number: int) -> tuple[float, list[float]]:
    """Test one agent; return the seconds until its copy was ready, and those of each scenario."""
    request = agent_request(number) | {"agent_id": f"WowBenchTest{number}"}
    request.pop("skip_test_reason")
    test = product.call(
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
    while True:
        results = product.call("GET", f"{FACTORY}/test/{test['test_id']}/results")
        if results["status"] not in ("queued", "running"):
            break
        time.sleep(POLL_SECONDS)
    if not results["passed"]:
        raise RuntimeError(f"the sandbox test did not pass: {results}")
    return results["ready_ms"] / 1000, [row["duration_ms"] / 1000 for row in results["results"]]


def container_of(agent_id: str) -> str:
    """Return the name of the running agent's container."""
    found = docker.from_env().containers.list(filters={"name": agent_id.lower()})
    return str(found[0].name)


def measure_deploys(product: Product, report: Report) -> None:
    """Deploys and their builds, beside bare Docker; sandbox cold starts, beside the same."""
    deploys, builds, bares, readies = [], [], [], []
    deploy(product, 0)  # the first one warms caches on both sides
    for number in range(1, ROUNDS + 1):
        seconds, state = deploy(product, number)
        deploys.append(seconds)
        builds.append(
            next(s["duration_seconds"] for s in state["steps"] if s["step"] == "build_image")
        )
        bares.append(BareDocker(container_of(f"WowBench{number}")).run())
        readies.append(sandbox(product, number)[0])
    ours, bare = Samples(tuple(deploys)), Samples(tuple(b.total for b in bares))
    report.add(
        Figure(
            what="Deploy accepted → healthy and registered",
            target="≤ 1.25 × bare, p95 < 5 s",
            measured=f"{milliseconds(ours.median)}, p95 {milliseconds(ours.p95)}",
            beside=f"bare Docker {milliseconds(bare.median)}",
            ratio=ours.median / bare.median,
        )
    )
    build, bare_build = Samples(tuple(builds)), Samples(tuple(b.build for b in bares))
    report.add(
        Figure(
            what="Release image: check and build",
            target="≤ 1.5 × bare",
            measured=milliseconds(build.median),
            beside=f"bare build {milliseconds(bare_build.median)}",
            ratio=build.median / bare_build.median,
        )
    )
    ready, bare_start = Samples(tuple(readies)), Samples(tuple(b.start for b in bares))
    report.add(
        Figure(
            what="Sandbox ready, cold",
            target="≤ 1.2 × bare start",
            measured=f"{milliseconds(ready.median)}, p95 {milliseconds(ready.p95)}",
            beside=f"bare start {milliseconds(bare_start.median)}",
            ratio=ready.median / bare_start.median,
        )
    )


@contextmanager
def bare_server(body: bytes) -> Iterator[str]:
    """Serve ``body`` from a bare Starlette under uvicorn."""

    async def answer(_: object) -> Response:
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()


def measure_api(product: Product, report: Report) -> None:
    """Template list and validation under load, beside a bare server giving the same bytes."""
    body = json.dumps(
        {
            "agent_id": "WowLoad",
            "name": "Load Agent",
            "template_id": "memory-agent",
            "tier": 3,
        }
    ).encode()
    json_type = (("Content-Type", "application/json"),)
    cases = [
        ("Template list", Request("GET", f"{product.url}{FACTORY}/templates"), "p99 < 25 ms"),
        (
            "Validate",
            Request(
                "POST", f"{product.url}{FACTORY}/validate", (*product.bearer(), *json_type), body
            ),
            "p99 < 50 ms",
        ),
    ]
    for what, request, target in cases:
        answer = product.http.request(
            request.method, request.url, content=request.body, headers=dict(request.headers)
        )
        ours = run_load(request, connections=CONNECTIONS, seconds=LOAD_SECONDS)
        with bare_server(answer.content) as url:
            bare = run_load(
                Request(request.method, url, body=request.body),
                connections=CONNECTIONS,
                seconds=LOAD_SECONDS,
            )
        report.add(
            Figure(
                what=f"{what}, {CONNECTIONS} connections",
                target=target,
                measured=f"p99 {milliseconds(ours.samples.p99)}, {ours.per_second:.0f}/s, "
                f"{ours.errors} errors",
                beside=f"bare Starlette p99 {milliseconds(bare.samples.p99)}, "
                f"{bare.per_second:.0f}/s",
                ratio=ours.samples.p99 / bare.samples.p99,
            )
        )


def main() -> None:
    """Run everything and write the page."""
    report = Report()
    with Product() as product:
        measure_api(product, report)
        measure_deploys(product, report)
        product.stop()
        again = product.start()
        report.add(
            Figure(
                what="`make run`, second start → first page",
                target="< 6 s",
                measured=milliseconds(again),
                beside="",
            )
        )
        for number in range(ROUNDS + 1):
            product.call("POST", f"/api/agents/WowBench{number}/undeploy")
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {ROUNDS} rounds."
    PAGE.write_text(report.as_markdown(machine), encoding="utf-8")
    print(f"Written: {PAGE}")  # noqa: T201 - a program for people


if __name__ == "__main__":
    main()

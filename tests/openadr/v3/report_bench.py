"""A 3.x VEN with its report engine on a bench: the VTN in memory, desks of usage and status with faults on order, virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import async_solipsism

from gateway.domain.identity import Principal
from gateway.domain.programs import PendingReport, ReportDuty
from gateway.domain.signals import ResourceStatus
from gateway.openadr.v3.report_engine import ReportEngine, ReportPorts, ReportSettings
from gateway.openadr.v3.settings import OwnResource
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.ven import Ven
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v3.bench import Bench, settings
from tests.openadr.v3.memory_vtn import Json, limit_event
from tests.openadr.virtual_life import START, TENANT

RESOURCES = (OwnResource(name="depot-1", node="site-01"), OwnResource(name="depot-2", node="site-02"))


@dataclass
class DeskOfStatus:
    """How chargers are, as a test says."""

    power_kw: float | None = 40.0
    limit_kw: float = 100.0
    is_online: bool | None = True
    is_overridden: bool = False
    is_short: bool = False
    offline_nodes: set[str] = field(default_factory=set)

    async def status(self, principal: Principal, node: str) -> ResourceStatus:
        return ResourceStatus(
            at=START,
            is_online=False if node in self.offline_nodes else self.is_online,
            is_overridden=self.is_overridden,
            power_kw=self.power_kw,
            limit_kw=self.limit_kw,
            rating_kw=150.0,
            floor_kw=10.0,
            is_short=self.is_short,
        )


@dataclass
class ReportBench(Bench):
    """The VEN and its engine; both may be killed and built again."""

    report_settings: ReportSettings | None = None

    def __post_init__(self) -> None:
        self.usage = DeskOfUsage(self.clock.now)
        self.status = DeskOfStatus()
        self.engine: ReportEngine | None = None
        self._waiting: list[asyncio.Task[None]] = []
        super().__post_init__()

    def build(self) -> Ven:
        ven = super().build()

        def standing() -> Standing:
            return Standing(ven=None) if ven.survey is None else ven.survey.standing

        self.engine = ReportEngine(
            ven.around,
            ven.client,
            ReportPorts(usage_desk=self.usage, standing=standing, status_desk=self.status, gate_of=self.gate_of),
            self.report_settings,
        )
        ven.accompany(self.engine)
        return ven

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that takes time from within a step."""
        self._waiting.append(asyncio.get_running_loop().create_task(work))

    # ------------------------------------------------------------ what came of it

    def sent(self) -> list[Json]:
        """Return the reports that the VTN has, in order of arrival."""
        return list(self.vtn.reports.values())

    def duties(self) -> list[ReportDuty]:
        return self.store.all(ReportDuty, TENANT)

    def rows(self) -> list[PendingReport]:
        return self.store.all(PendingReport, TENANT)


def said(report: Json, resource: int = 0) -> list[tuple[int, dict[str, Any]]]:
    """Return a report's intervals as ids with values by type."""
    return [
        (one["id"], {payload["type"]: payload["values"][0] for payload in one["payloads"]})
        for one in report["resources"][resource]["intervals"]
    ]


def ids_of(report: Json, resource: int = 0) -> list[int]:
    return [number for number, _ in said(report, resource)]


def wants(*descriptors: Json, kw: Sequence[float] = (10.0,) * 4, duration: str = "PT15M", **changes: Any) -> Json:
    """Return an event of 4 quarters that asks for reports."""
    return limit_event(START, *kw, duration=duration, reportDescriptors=list(descriptors), **changes)


def reporting(scenario: Callable[[ReportBench], Awaitable[None]], **changes: Any) -> ReportBench:
    """Run a scenario in virtual time and return the bench for a look."""
    around = {name: changes.pop(name) for name in ("gate_of", "report_settings") if name in changes}
    box: list[ReportBench] = []

    async def main() -> None:
        wished = {"poll_interval": timedelta(minutes=1), "lost_after": timedelta(days=1), **changes}
        box.append(ReportBench(settings=settings(**wished), **around))
        box[0].vtn.program()
        await scenario(box[0])

    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        runner.run(main())
    return box[0]


def after(*events: Json, minutes: float = 70, **changes: Any) -> ReportBench:
    """Return the bench after a VEN saw events and time has passed."""

    async def scenario(bench: ReportBench) -> None:
        for number, event in enumerate(events, start=1):
            bench.vtn.event(f"e{number}", **event)
        await bench.run(seconds=60 * minutes)

    return reporting(scenario, **changes)

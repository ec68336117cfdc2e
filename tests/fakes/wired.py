"""A whole gateway in one process for tests of its doors: real services, two tenants, a store in memory, a clock moved by hand."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from gateway.app.gateway import rpc_server
from gateway.app.services import Services, World, wire_services
from gateway.domain.identity import Account, Role
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Node, NodeKind
from gateway.grid_settings import VtnSettings
from gateway.rpc.server import RpcServer, TlsFiles
from gateway.services.admit import hash_password
from gateway.settings import MarketSettings, PlanSettings, RpcSettings, Settings
from gateway.steering_settings import SteeringBoxSettings
from tests.services.market_scene import DAY, PORTFOLIO, TENANT, ZONE, MarketScene

__all__ = ["PORTFOLIO", "TENANT"]  # the first tenant is that of the scene
OTHER = "other"
PASSWORD = "correct horse battery"
CSMS = "csms-demo"
SPIFFE = "spiffe://demo.example/csms"
ACTORS = {"tara": Role.TRADER, "ann": Role.APPROVER, "olga": Role.OPERATOR, "aud": Role.AUDITOR}


@cache
def known_hash() -> str:
    return hash_password(PASSWORD)


def token_of(tenant: str, actor: str) -> str:
    return f"token-of-{tenant}-{actor}"


def account(tenant: str, actor: str, *roles: Role, **more: Any) -> Account:
    digest = hashlib.sha256(token_of(tenant, actor).encode()).hexdigest()
    return Account(
        id=f"account-{actor}",
        tenant=tenant,
        actor=actor,
        roles=roles,
        password_hash=known_hash(),
        token_sha256=digest,
        **more,
    )


def accounts(tenant: str) -> list[Account]:
    """Everybody of a tenant: people, one account per role, a charging platform with a certificate, too."""
    roles = [role for role in Role if role is not Role.SYSTEM]
    csms = CSMS if tenant == TENANT else "csms-other"
    return [
        *(account(tenant, actor, role) for actor, role in ACTORS.items()),
        account(tenant, "bo", Role.TRADER, Role.APPROVER),
        *(account(tenant, f"only-{role}", role, csms=csms if role is Role.CSMS else None) for role in roles),
        account(tenant, "csms", Role.CSMS, csms=csms, certificate_uri=SPIFFE if tenant == TENANT else None),
    ]


@dataclass
class Wired:
    """Everything behind the doors."""

    scene: MarketScene
    settings: Settings
    world: World
    services: Services

    @property
    def chargers(self) -> list[str]:
        return [f"site-01/ev{n:03d}" for n in range(3)]

    def server(self, **rpc: Any) -> RpcServer:
        settings = self.settings.model_copy(update={"rpc": RpcSettings(**rpc)})
        return rpc_server(settings, self.world, self.services)

    @asynccontextmanager
    async def listening(self, tls: TlsFiles | None = None, **rpc: Any) -> AsyncIterator[str]:
        """Serve gRPC on a free port and give out the address."""
        server = self.server(**rpc)
        port = await server.start("127.0.0.1:0", tls)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0.1)


async def wired(
    day: date = DAY.day, vtn: tuple[VtnSettings, ...] = (), steering_box: tuple[SteeringBoxSettings, ...] = ()
) -> Wired:
    """Return a gateway at 11:00 on the day before delivery, with a past to plan from, and a second tenant beside it."""
    scene = await MarketScene(DeliveryDay(day=day, zone=ZONE)).with_past()
    await scene.store.seed(TENANT, *accounts(TENANT))
    strange = Node(
        id=PORTFOLIO,
        tenant=OTHER,
        parent=None,
        kind=NodeKind.PORTFOLIO,
        name="other",
        max_import_kw=50.0,
        fail_safe_import_kw=0.0,
    )
    await scene.store.seed(OTHER, strange, *accounts(OTHER))
    settings = Settings(
        tenants=(TENANT, OTHER),
        market=MarketSettings(
            zone="BE", time_zone=ZONE, entsoe_url="http://127.0.0.1:9/api", entsoe_token_file=Path("none")
        ),
        plan=PlanSettings(tenant=TENANT, portfolio=PORTFOLIO),
        vtn=vtn,
        steering_box=steering_box,
    )
    world = World(
        store=scene.store,
        clock=scene.clock,
        ids=scene.ids,
        worker=scene.worker,
        prices={},
        carbon={},
        exchange=scene.exchange,
        nomination_desk=scene.desk,
    )
    services = wire_services(settings, world)
    await services.load()
    return Wired(scene, settings, world, services)

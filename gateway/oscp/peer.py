"""One partner: what its messages do. Whatever is acknowledged is on disk; what we say in return leaves afterwards, by the outbox."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.errors import NotFound, PermissionRefused, RequestReused, Unauthenticated
from gateway.domain.evidence import AuditEntry
from gateway.domain.oscp import OscpLink, OscpMessage, OscpRequest, OscpSegment
from gateway.domain.signals import RawSignal
from gateway.domain.topology import CapacityGroup, Node
from gateway.observe import logger
from gateway.oscp import link as links
from gateway.oscp.composing import acknowledge_says, handshake_says, message_of, register_says
from gateway.oscp.forecasts import Origin, limits_beside
from gateway.oscp.names import (
    ADJUST_FORECAST,
    ASSET_MEASUREMENTS,
    HANDSHAKE,
    HANDSHAKE_ACKNOWLEDGE,
    HANDSHAKE_ACKNOWLEDGMENT,
    HEARTBEAT,
    MESSAGES,
    REGISTER,
    TYPES,
    UPDATE_FORECAST,
    VERSION,
    PeerRole,
)
from gateway.oscp.optimiser import forwards_of, optimum_says
from gateway.oscp.presence import Presence
from gateway.oscp.reading import Inbound, ModelT, read_message
from gateway.oscp.receipts import raw_of, remembered
from gateway.oscp.refusals import NoCommonVersion
from gateway.oscp.segments import Chains, closed, join
from gateway.oscp.surroundings import Surroundings
from gateway.oscp.wire import GroupCapacityForecast, Handshake, Heartbeat, Register, UpdateAssetMeasurements
from gateway.ports import Batch, Put, StatedLimits
from gateway.sealing import new_token, token_hash

REMEMBERED_FOR = timedelta(hours=24)
"""How long a request id is known."""
_LONG_BODY = 32_768
"""Longer bodies are read in a thread, so that the loop goes on."""
_log = logger("oscp")
AdmitUrl = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Effect:
    """What a request brings about beside being remembered."""

    link: OscpLink | None = None
    messages: tuple[OscpMessage, ...] = ()
    segments: tuple[OscpSegment, ...] = ()
    raw: RawSignal | None = None
    audit: tuple[AuditEntry, ...] = ()


class OscpPeer:
    """One partner.

    Args:
        around: Settings and ports.
        admit_url: Raises InvalidInput for an address that we must not call.
    """

    def __init__(self, around: Surroundings, admit_url: AdmitUrl) -> None:
        settings = around.settings
        self.around = around
        self.link = links.new_link(settings.authority, settings.tenant, around.clock.now())
        self.presence = Presence(around)
        self.chains = Chains(settings.authority, settings.tenant, settings.segment_patience)
        self.on_change: list[Callable[[], None]] = []
        """Called when the link or what is due has changed."""
        self._admit_url = admit_url
        self._first_hash = token_hash(settings.first_token)
        self._lock = asyncio.Lock()
        """Of the link: whoever changes it holds it."""
        self._words = asyncio.Lock()
        """Of forecasts: a reduction does not wait for the heartbeat before it to be written (G2). Taken after the link's, never before."""
        self.heard_at: datetime | None = None
        self.problem = ""
        """What last went wrong on the partner's side, for people."""

    # ---------------------------------------------------------------- starting, and what time brings

    async def begin(self) -> None:
        """Go on from rows, tell whether the partner is there, and register with it where that is ours to do."""
        settings, store = self.around.settings, self.around.store
        async with self._lock:
            row = await store.get(OscpLink, settings.tenant, settings.authority)
            if row is not None:
                self.link = row.record
            where: dict[str, str | int] = {"authority": settings.authority, "is_open": True}
            self.chains.restore([one.record for one in await store.find(OscpSegment, settings.tenant, where)])
            await self._look()

    async def look(self) -> None:
        """See whether the partner has gone offline or a message has not become whole in time."""
        async with self._lock:
            await self._look()

    async def _look(self) -> None:
        await self._register_first()
        now = self.around.clock.now()
        moved = links.looked_at(self.link, now)
        is_lost = links.is_lost(moved)
        if is_lost:
            await self.presence.tell(is_lost=True)
        if moved != self.link:
            await self._keep(_Effect(link=moved, audit=self._moved_to(moved, now)))
            _log.warning("partner is offline", authority=moved.id, promised=str(moved.offline_at))
        if not is_lost:
            await self.presence.tell(is_lost=False)
        async with self._words:
            await self._drop_late(now)

    async def _drop_late(self, now: datetime) -> None:
        """Drop messages that have not become whole in time."""
        late = self.chains.late(now)
        if late:
            names = sorted({part.chain for part in late})
            entry = self.around.entry("oscp.segments-missing", now, {"requests": " ".join(names)})
            await self._keep(_Effect(segments=tuple(closed(late)), audit=(entry,)))
            for name in names:
                self.chains.close(name)
            self.problem = f"dropped {len(names)} message(s) whose segments did not come in time"
            _log.warning("segments are missing", authority=self.link.id, requests=names)

    async def _register_first(self) -> None:
        """Begin the exchange of tokens unless it runs, is done, or the one-time token is used up; one given up begins anew."""
        link, now = self.link, self.around.clock.now()
        url = self.around.settings.url
        if not url or link.token_sha256 or link.spent_sha256 == self._first_hash or await self._open_messages():
            return
        token = new_token()
        seal = self.around.seal
        message = replace(
            message_of(self.around, register_says(self.around, ""), now),
            sealed_token=seal.close(token),
            sealed_key=seal.close(self.around.settings.first_token),
            url=url,
        )
        offered = replace(link, offered_sha256=token_hash(token), register_id=message.request_id)
        await self._keep(_Effect(link=offered, messages=(message,)))

    # ---------------------------------------------------------------- who may speak

    def knows(self, sha256: str, message: str) -> bool:
        """Tell in constant time whether a token, given by its hash, opens a message of this partner."""
        link = self.link
        may_begin = message == REGISTER and not self.around.settings.url and link.spent_sha256 != self._first_hash
        kept = [(link.token_sha256, True), (link.offered_sha256, True), (self._first_hash, may_begin)]
        return any([hmac.compare_digest(sha256, known) and is_valid for known, is_valid in kept])  # noqa: C419  # all are compared

    async def take(self, inbound: Inbound, sha256: str) -> None:
        """Let a request take effect, once, and return when all of it is on disk.

        Args:
            inbound: The request; whoever passes it on has checked its token.
            sha256: Hash of that token.

        Raises:
            InvalidInput: The message breaks a rule.
            Unauthenticated: The token died while the request waited.
            PermissionRefused: A partner of this role may not say this.
            NotFound: It names no group of the partner.
            NoCommonVersion: It offers no version that we speak.
            RequestReused: The request id was used for something else.
            Overloaded: Too many of its messages are incomplete.
            StorageUnavailable: Nothing was kept.
        """
        is_forecast = inbound.message in {UPDATE_FORECAST, ADJUST_FORECAST}
        if is_forecast and sha256 == self.link.offered_sha256:
            async with self._lock:
                await self._confirm(sha256, inbound)
        async with self._words if is_forecast else self._lock:
            if not self.knows(sha256, inbound.message):
                raise Unauthenticated("the token is not valid")
            if await self._is_repeat(inbound):
                return
            if inbound.message not in MESSAGES[self.around.settings.role]:
                raise PermissionRefused(f"oscp.{inbound.message}")
            if not is_forecast:
                await self._confirm(sha256, inbound)
            await self._act(inbound, sha256)
            self.heard_at = self.around.clock.now()

    async def _act(self, inbound: Inbound, sha256: str) -> None:
        match inbound.method, inbound.message:
            case "POST", name if name == REGISTER:
                await self._registered(inbound, sha256)
            case "PUT", name if name == REGISTER:
                await self._changed(inbound)
            case "DELETE", name if name == REGISTER:
                await self._left(inbound)
            case _, name if name == HANDSHAKE:
                await self._handshaken(inbound, is_answer=False)
            case _, name if name in {HANDSHAKE_ACKNOWLEDGE, HANDSHAKE_ACKNOWLEDGMENT}:
                await self._handshaken(inbound, is_answer=True)
            case _, name if name == HEARTBEAT:
                await self._beat(inbound)
            case _, name if name in {UPDATE_FORECAST, ADJUST_FORECAST}:
                await self._forecast(inbound)
            case _, name if name == ASSET_MEASUREMENTS:
                await self._measured(inbound)
            case _:
                raise NotFound("message", inbound.message)

    async def _is_repeat(self, inbound: Inbound) -> bool:
        name = f"{self.link.id}:{inbound.request_id}"
        row = await self.around.store.get(OscpRequest, self.link.tenant, name)
        if row is None or row.record.at + REMEMBERED_FOR <= self.around.clock.now():
            return False
        if row.record.sha256 != inbound.digest:
            raise RequestReused("the X-Request-ID was used for another request")
        return True

    # ---------------------------------------------------------------- registration

    async def register_taken(self, message: OscpMessage) -> None:
        """Note that the partner has taken our answer to its Register: the token that we offered in it is in force."""
        async with self._lock:
            if message.request_id == self.link.register_id and not message.url:
                await self._confirm_offer()

    async def _confirm(self, sha256: str, inbound: Inbound) -> None:
        """A partner that shows the token we offered has it; where we began, it still has to say where it is."""
        link = self.link
        if sha256 == link.offered_sha256 != "" and link.sealed_token and inbound.message != REGISTER:
            await self._confirm_offer()

    async def _confirm_offer(self) -> None:
        link, now = self.link, self.around.clock.now()
        if not link.offered_sha256:
            return
        done = links.confirmed(link, now, spent_sha256=self._first_hash)
        messages = (*await self._given_up("the partner has it", REGISTER), *self._opening(now))
        await self._keep(_Effect(link=done, messages=messages, audit=self._moved_to(done, now)))

    def _opening(self, now: datetime) -> tuple[OscpMessage, ...]:
        if not self.around.settings.sends_handshake:
            return ()
        return (message_of(self.around, handshake_says(self.around), now),)

    async def _registered(self, inbound: Inbound, sha256: str) -> None:
        said, base_url = await self._read_register(inbound)
        seal, now = self.around.seal, self.around.clock.now()
        link = self.link
        if inbound.correlation_id and inbound.correlation_id == link.register_id:
            known = links.changed(link, base_url=base_url, sealed_token=seal.close(said.token))
            done = links.confirmed(known, now, spent_sha256=self._first_hash)
            effect = _Effect(link=done, messages=self._opening(now), audit=self._moved_to(done, now))
            await self._keep(effect, inbound)
            return
        token = new_token()
        answer = replace(
            message_of(self.around, register_says(self.around, inbound.request_id), now), sealed_token=seal.close(token)
        )
        offered = replace(
            links.offered(
                link, now, base_url=base_url, sealed_token=seal.close(said.token), offered_sha256=token_hash(token)
            ),
            register_id=answer.request_id,
        )
        older = await self._given_up("superseded", REGISTER)
        entry = self.around.entry("oscp.register", now, {"base_url": base_url})
        await self._keep(_Effect(link=offered, messages=(*older, answer), audit=(entry,)), inbound)

    async def _changed(self, inbound: Inbound) -> None:
        said, base_url = await self._read_register(inbound)
        now = self.around.clock.now()
        changed = links.changed(self.link, base_url=base_url, sealed_token=self.around.seal.close(said.token))
        entry = self.around.entry("oscp.change-endpoint", now, {"base_url": base_url})
        await self._keep(_Effect(link=changed, audit=(entry,)), inbound)

    async def _left(self, inbound: Inbound) -> None:
        now = self.around.clock.now()
        left = links.unregistered(self.link, now)
        await self.presence.tell(is_lost=True)
        effect = _Effect(
            link=replace(left, spent_sha256=self._first_hash),
            messages=await self._given_up("the partner has left", ""),
            audit=(self.around.entry("oscp.unregister", now),),
        )
        await self._keep(effect, inbound)

    async def _read_register(self, inbound: Inbound) -> tuple[Register, str]:
        said = await self._read(Register, inbound)
        url = next((one.base_url for one in said.version_url if one.version == VERSION), None)
        if url is None:
            raise NoCommonVersion
        await self._admit_url(url)
        return said, url.rstrip("/")

    async def _given_up(self, why: str, path: str) -> tuple[OscpMessage, ...]:
        """Return our open messages, all or of one kind, as given up."""
        found = await self._open_messages()
        return tuple(replace(one, is_open=False, outcome=why) for one in found if path in {"", one.path})

    async def _open_messages(self) -> list[OscpMessage]:
        where: dict[str, str | int] = {"authority": self.link.id, "is_open": True}
        return [row.record for row in await self.around.store.find(OscpMessage, self.link.tenant, where)]

    # ---------------------------------------------------------------- handshake and heartbeat

    async def _handshaken(self, inbound: Inbound, *, is_answer: bool) -> None:
        said = await self._read(Handshake, inbound)
        now = self.around.clock.now()
        wish = said.required_behaviour
        agreed = links.handshaken(
            self.link,
            now,
            beat_every_s=None if wish is None else wish.heartbeat_interval,
            measurements=() if wish is None else tuple(one.value for one in wish.measurement_configuration),
            grace=self.around.settings.grace,
        )
        answers = (
            () if is_answer else (message_of(self.around, acknowledge_says(self.around, inbound.request_id), now),)
        )
        await self._keep(_Effect(link=agreed, messages=answers, audit=self._moved_to(agreed, now)), inbound)
        await self.presence.tell(is_lost=links.is_lost(agreed))

    async def _beat(self, inbound: Inbound) -> None:
        said = await self._read(Heartbeat, inbound)
        now = self.around.clock.now()
        heard = links.heard(self.link, now, offline_at=said.offline_mode_at)
        if links.is_lost(heard):
            await self.presence.tell(is_lost=True)
        await self._keep(_Effect(link=heard, audit=self._moved_to(heard, now)), inbound)
        await self.presence.tell(is_lost=links.is_lost(heard))

    # ---------------------------------------------------------------- forecasts and measurements

    async def _forecast(self, inbound: Inbound) -> None:
        forecast = await self._read(GroupCapacityForecast, inbound)
        role = self.around.settings.role
        if forecast.type not in TYPES[role]:
            raise PermissionRefused(f"oscp.{forecast.type.value}")
        group, node = await self._group(forecast.group_id)
        parts: tuple[OscpSegment, ...] = ()
        cause = inbound.request_id
        if inbound.segment is not None and inbound.segment.count > 1:
            part = self.chains.part_of(inbound, inbound.segment, self.around.clock.now())
            whole = self.chains.with_part(part)
            if whole is None:
                await self._keep(_Effect(segments=(part,)), inbound)
                self.chains.add(part)
                return
            forecast = join([await self._parse(GroupCapacityForecast, one.body) for one in whole])
            parts, cause = tuple(closed(whole)), part.chain
        if role is PeerRole.FLEXIBILITY_PROVIDER:
            await self._advise(inbound, forecast, node, parts)
        else:
            await self._limit(inbound, forecast, group, node, parts, cause)
        if parts:
            self.chains.close(parts[0].chain)

    async def _limit(  # a forecast, where it holds, and what it came in
        self,
        inbound: Inbound,
        forecast: GroupCapacityForecast,
        group: CapacityGroup,
        node: Node,
        parts: tuple[OscpSegment, ...],
        cause: str,
    ) -> None:
        """State the limits of a forecast; optimisers of the same node get it too, in the same batch."""
        around, now = self.around, self.around.clock.now()
        raw = raw_of(self.around, inbound, forecast, now, cause)
        origin = Origin(tenant=self.link.tenant, authority=self.link.id, cause=raw.id, known_at=now)
        known = around.limit_desk.stated_by(self.link.tenant, self.link.id)
        names = [around.ids.new("limit") for _ in forecast.forecasted_blocks]
        limits, gone = await limits_beside(forecast, node, origin, names, known)
        forwards = await forwards_of(around, forecast, group, now)
        rows = (remembered(self.around, inbound, now), *parts, *forwards)
        await around.limit_desk.state_limits(
            around.principal,
            StatedLimits(
                authority=self.link.id,
                raw=raw,
                limits=limits,
                withdrawn=gone,
                puts=tuple(Put(record=row) for row in rows),
            ),
        )
        self.changed()

    async def _advise(
        self, inbound: Inbound, forecast: GroupCapacityForecast, node: Node, parts: tuple[OscpSegment, ...]
    ) -> None:
        """Answer a flexibility provider's forecast with the optimum for it."""
        now = self.around.clock.now()
        says = await optimum_says(self.around, forecast, node, inbound.request_id)
        messages = () if says is None else (message_of(self.around, says, now),)
        raw = raw_of(self.around, inbound, forecast, now, inbound.request_id)
        await self._keep(_Effect(raw=raw, messages=messages, segments=parts), inbound)

    async def _measured(self, inbound: Inbound) -> None:
        said = await self._read(UpdateAssetMeasurements, inbound)
        await self._group(said.group_id)
        raw = raw_of(self.around, inbound, None, self.around.clock.now(), inbound.request_id)
        await self._keep(_Effect(raw=raw), inbound)

    async def _group(self, name: str) -> tuple[CapacityGroup, Node]:
        tenant = self.link.tenant
        row = await self.around.store.get(CapacityGroup, tenant, f"{self.link.id}:{name}")
        node = None if row is None else await self.around.store.get(Node, tenant, row.record.node)
        if row is None or node is None:
            raise NotFound("group", name)
        return row.record, node.record

    # ---------------------------------------------------------------- keeping

    async def remember_ack_path(self, path: str) -> None:
        """Note how the partner spells handshake_acknowledge."""
        async with self._lock:
            await self._keep(_Effect(link=replace(self.link, ack_path=path)))

    def changed(self) -> None:
        """Tell whoever waits that the link or what is due has changed."""
        for callback in self.on_change:
            callback()

    async def _keep(self, effect: _Effect, inbound: Inbound | None = None) -> None:
        """Make an effect durable, and only then real."""
        now = self.around.clock.now()
        link = effect.link or self.link
        rows: list[object] = [*effect.messages, *effect.segments]
        rows += [] if effect.raw is None else [effect.raw]
        rows += [] if effect.link is None else [link]
        rows += [] if inbound is None else [remembered(self.around, inbound, now)]
        puts = tuple(Put(record=row) for row in rows)
        await self.around.store.apply(Batch(tenant=self.link.tenant, puts=puts, audit=effect.audit))
        if effect.link is not None:
            self.link = link
        self.changed()

    def _moved_to(self, link: OscpLink, now: datetime) -> tuple[AuditEntry, ...]:
        if link.state is self.link.state:
            return ()
        return (self.around.entry("oscp.link", now, {"from": self.link.state.value, "to": link.state.value}),)

    async def _read(self, model: type[ModelT], inbound: Inbound) -> ModelT:
        return await self._parse(model, inbound.body)

    async def _parse(self, model: type[ModelT], body: bytes) -> ModelT:
        zone = self.around.settings.naive_zone
        if len(body) > _LONG_BODY:
            return await asyncio.to_thread(read_message, model, body, zone)
        return read_message(model, body, zone)

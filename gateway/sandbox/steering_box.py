"""The sandbox steering box: plays a script of limits, silences and relay states against a gateway, as a box of a grid operator would.

```
python -m gateway.sandbox.steering_box --gateway 127.0.0.1:50051 --token-file FILE --box box-7 [--clock FILE] [--script FILE]
```

A script is a JSON list of steps in the order of `at_s`, seconds of market time after the start. Each does one thing:

```json
[
  {"at_s": 0, "release": true},
  {"at_s": 60, "limit_kw": 8.0, "duration_s": 900},
  {"at_s": 300, "failsafe_kw": 6.0, "failsafe_duration_s": 7200},
  {"at_s": 600, "silent_s": 300},
  {"at_s": 1200, "dim": true, "off": false}
]
```

Between the steps it sends a heartbeat every 50 s. When the gateway says that the box counts as silent (it was started anew, or heard
nothing for 120 s), the last word is said again after the heartbeat, as LPC-913 wants. A call that fails is repeated with the same
request id. Without a script it plays the one above without relays. It goes on with heartbeats until it is stopped, or ends after the last
step with `--once`.
"""

import argparse
import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import Message

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.program import log_to_stderr, stop_signal
from gateway.v1 import steering_service_pb2 as pb
from gateway.v1 import types_pb2
from gateway.v1.steering_service_pb2_grpc import SteeringServiceStub

ReplyT = TypeVar("ReplyT")
_LOG = logging.getLogger("sandbox.steering_box")
_CALL_SECONDS = 10.0
"""Real seconds that a call may take."""
_RETRY_SECONDS = 0.5
"""Real seconds between two tries."""
HEARTBEAT = timedelta(seconds=50)
"""Market time between two heartbeats; the gateway wants one every 60 s."""
_KINDS = {
    "limit_kw": {"duration_s"},
    "release": set[str](),
    "silent_s": set[str](),
    "failsafe_kw": {"failsafe_duration_s"},
    "dim": {"off"},
}
"""What a step may do, and which keys may stand beside it."""


class Clock(Protocol):
    """Market time."""

    def now(self) -> datetime:
        """Return the market time."""
        ...

    async def sleep_until(self, when: datetime) -> None:
        """Return once it has come."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of a script."""

    at: timedelta
    """After the start."""
    kind: str
    """Key of what it does."""
    value: float
    """Of that key; 1 and 0 for true and false."""
    beside: float | None = None
    """Of the key beside it; None without one."""


DEFAULT_SCRIPT = (
    Step(at=timedelta(0), kind="release", value=1.0),
    Step(at=timedelta(seconds=60), kind="limit_kw", value=8.0, beside=900.0),
    Step(at=timedelta(seconds=300), kind="failsafe_kw", value=6.0, beside=7_200.0),
    Step(at=timedelta(seconds=600), kind="silent_s", value=300.0),
)


def read_script(path: Path) -> tuple[Step, ...]:
    """Return the steps of a script file.

    Raises:
        InvalidInput: It is no JSON list of steps in order; the step and the field are named.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput("script", f"{path.name} cannot be read as JSON") from error
    if not isinstance(document, list):
        raise InvalidInput("script", "must be a JSON list")
    steps = tuple(_step(f"script[{place}]", one) for place, one in enumerate(document))
    for place in range(1, len(steps)):
        if steps[place].at < steps[place - 1].at:
            raise InvalidInput(f"script[{place}].at_s", "must not be before the step above")
    return steps


def _step(where: str, document: object) -> Step:
    if not isinstance(document, dict):
        raise InvalidInput(where, "must be an object")
    kinds = [kind for kind in _KINDS if kind in document]
    if len(kinds) != 1:
        raise InvalidInput(where, f"must have exactly one of {', '.join(_KINDS)}")
    [kind] = kinds
    unknown = document.keys() - {"at_s", kind} - _KINDS[kind]
    if unknown:
        raise InvalidInput(f"{where}.{min(unknown)}", "is not a known field")
    numbers = {key: _number(f"{where}.{key}", value) for key, value in document.items()}
    if "at_s" not in numbers:
        raise InvalidInput(f"{where}.at_s", "is missing")
    beside = next((numbers[key] for key in _KINDS[kind] if key in numbers), None)
    return Step(at=timedelta(seconds=numbers["at_s"]), kind=kind, value=numbers[kind], beside=beside)


def _number(field: str, value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidInput(field, "must be a number of at least 0, or true or false")
    return float(value)


class SteeringBoxPlayer:
    """Plays a script as one box."""

    def __init__(
        self, *, box: str, channel: grpc.aio.Channel, token: str, clock: Clock, script: Sequence[Step]
    ) -> None:
        """Prepare.

        Args:
            box: Name of the box at the gateway.
            channel: To the gateway.
            token: Of the box's account.
            clock: Market time.
            script: Steps in order.
        """
        self._box = box
        self._stub = SteeringServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._clock = clock
        self._script = script
        self._started = clock.now()
        self._count = 0
        self._word: Step | None = None
        self._said_at = self._started
        self.heard: list[str] = []
        """What the gateway answered, for the log of whoever looks on."""

    async def play(self) -> None:
        """Play all steps; between them send heartbeats."""
        for step in self._script:
            await self._wait(self._started + step.at)
            await self._do(step)

    async def go_on(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await self._wait(self._clock.now() + HEARTBEAT)

    async def _wait(self, until: datetime) -> None:
        while self._clock.now() < until:
            await self._beat()
            await self._clock.sleep_until(min(until, self._clock.now() + HEARTBEAT))

    async def _beat(self) -> None:
        request = pb.SendHeartbeatRequest(box=self._box)
        answer = await self._call(self._stub.SendHeartbeat, request)
        waits = {pb.STEERING_STATE_INIT, pb.STEERING_STATE_FAILSAFE}
        drawn = [one for one in answer.steering_box.limitations if one.direction == types_pb2.DIRECTION_IMPORT]
        if self._word is not None and any(one.state in waits for one in drawn):
            await self._say(self._what_is_left(self._word))

    def _what_is_left(self, word: Step) -> Step:
        """Return the last word as it is to be said again: a limit whose time is over is none any more."""
        if word.kind != "limit_kw" or word.beside is None:
            return word
        left_s = word.beside - (self._clock.now() - self._said_at).total_seconds()
        return replace(word, beside=left_s) if left_s > 0 else Step(at=word.at, kind="release", value=1.0)

    async def _do(self, step: Step) -> None:
        match step.kind:
            case "silent_s":
                self._note(f"silent for {step.value:g} s")
                await self._clock.sleep_until(self._clock.now() + timedelta(seconds=step.value))
            case "failsafe_kw":
                await self._write_failsafe(step)
            case _:
                await self._beat()
                self._word, self._said_at = step, self._clock.now()
                await self._say(step)

    async def _say(self, step: Step) -> None:
        if step.kind == "dim":
            is_off = step.beside is not None and step.beside > 0
            relays = pb.SetRelaysRequest(
                request_id=self._next_id(), box=self._box, is_dim_closed=step.value > 0, is_off_closed=is_off
            )
            order = (await self._call(self._stub.SetRelays, relays)).order
        else:
            is_active = step.kind == "limit_kw"
            limit = pb.WriteLimitRequest(
                request_id=self._next_id(),
                box=self._box,
                direction=types_pb2.DIRECTION_IMPORT,
                is_active=is_active,
                power_kw=step.value if is_active else None,
                duration=None if step.beside is None else _duration(step.beside),
            )
            order = (await self._call(self._stub.WriteLimit, limit)).order
        applied = f"{order.applied_power_kw:g} kW" if order.HasField("applied_power_kw") else "no limit"
        self._note(f"{order.rule}: {applied}")

    async def _write_failsafe(self, step: Step) -> None:
        await self._beat()
        request = pb.WriteFailsafeRequest(
            request_id=self._next_id(),
            box=self._box,
            direction=types_pb2.DIRECTION_IMPORT,
            failsafe_power_kw=step.value,
            failsafe_duration=None if step.beside is None else _duration(step.beside),
        )
        await self._call(self._stub.WriteFailsafe, request)
        self._note(f"failsafe {step.value:g} kW")

    async def _call(self, method: Callable[..., Awaitable[ReplyT]], request: Message) -> ReplyT:
        """Call until it is answered: with the same request, so with the same effect."""
        while True:
            try:
                return await method(request, timeout=_CALL_SECONDS, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                _LOG.warning("%s: %s", error.code().name, error.details())
                if error.code() in _HOPELESS:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._started:%Y%m%dT%H%M%S%f}-{self._count}"

    def _note(self, text: str) -> None:
        self.heard.append(text)
        _LOG.info("%s at %s: %s", self._box, self._clock.now().isoformat(), text)


_HOPELESS = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
"""What another try does not mend."""


def _duration(seconds: float) -> duration_pb2.Duration:
    out = duration_pb2.Duration()
    out.FromTimedelta(timedelta(seconds=seconds))
    return out


async def serve(options: argparse.Namespace, script: Sequence[Step]) -> None:
    """Play until the script is over or the process is told to stop."""
    token = options.token_file.read_text(encoding="utf-8").strip()
    async with grpc.aio.insecure_channel(options.gateway) as channel:
        player = SteeringBoxPlayer(
            box=options.box,
            channel=channel,
            token=token,
            clock=SandboxClock(options.clock),
            script=script,
        )
        with stop_signal() as stop:
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(_play(player, stop, is_once=options.once))
                await stop.wait()
                playing.cancel()


async def _play(player: SteeringBoxPlayer, stop: asyncio.Event, *, is_once: bool) -> None:
    try:
        await player.play()
        if not is_once:
            await player.go_on()
    finally:
        stop.set()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.sandbox.steering_box", description="A scripted steering box."
    )
    parser.add_argument("--gateway", required=True, help="host:port of the gateway's gRPC door")
    parser.add_argument("--token-file", type=Path, required=True, help="file with the token of the box's account")
    parser.add_argument("--box", required=True, help="name of the box in the gateway's settings")
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--script", type=Path, help="JSON list of steps; the built-in one without it")
    parser.add_argument("--once", action="store_true", help="end after the last step")
    options = parser.parse_args(arguments)
    log_to_stderr()
    try:
        script = DEFAULT_SCRIPT if options.script is None else read_script(options.script)
    except InvalidInput as error:
        parser.error(str(error))
    asyncio.run(serve(options, script))


if __name__ == "__main__":
    main()

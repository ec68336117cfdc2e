"""Random lives of a link against a model of what must bind: forecasts, heartbeats, silence, handshakes, repeats and restarts."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.oscp.scene import NODES, Scene, T, block

HORIZON = 300
RATING_KW, FAIL_SAFE_KW = NODES[1].max_import_kw, NODES[1].fail_safe_import_kw
MINUTES = st.integers(0, 90)
STEPS = st.one_of(
    st.tuples(st.just("CONSUMPTION"), MINUTES, st.integers(1, 60), st.integers(0, 90)),
    st.tuples(st.just("FALLBACK_CONSUMPTION"), MINUTES, st.integers(1, 60), st.integers(0, 90)),
    st.tuples(st.just("beat"), st.integers(-1, 30)),
    st.tuples(st.just("pass"), st.integers(1, 20)),
    st.tuples(st.just("handshake")),
    st.tuples(st.just("repeat")),
    st.tuples(st.just("restart")),
)


@dataclass
class Model:
    """What must bind, by minute."""

    limit_kw: list[float | None] = field(default_factory=lambda: [None] * HORIZON)
    fallback_kw: list[float | None] = field(default_factory=lambda: [None] * HORIZON)
    now: int = 0
    is_agreed: bool = False
    """Hands were shaken, and no promise was broken since."""
    promised: int | None = None

    def pass_time(self, minutes: int) -> None:
        self.now += minutes
        if self.promised is not None and self.promised <= self.now:
            self.is_agreed = False

    def beat(self, minutes: int) -> None:
        self.promised = self.now + minutes
        self.is_agreed = minutes > 0

    def shake(self) -> None:
        if self.promised is not None and not self.is_agreed:
            self.promised = self.now + 3
        self.is_agreed = True

    def binding_kw(self) -> float:
        limit, fallback = self.limit_kw[self.now], self.fallback_kw[self.now]
        if self.is_agreed:
            said = limit if limit is not None else fallback
            return min(FAIL_SAFE_KW if said is None else said, RATING_KW)
        safe = FAIL_SAFE_KW if fallback is None else fallback
        return min(safe, RATING_KW if limit is None else limit, RATING_KW)


@given(steps=st.lists(STEPS, max_size=12))
async def test_whatever_happens_what_binds_is_what_the_model_says(steps: list[tuple[Any, ...]]) -> None:
    scene = await Scene().begin()
    assert (await scene.register()).status == 204
    assert (await scene.handshake()).status == 204
    model = Model(is_agreed=True)
    sent: list[tuple[Any, dict[str, Any]]] = []
    for step in steps:
        match step:
            case ("beat", minutes):
                assert (await scene.beat(minutes * 60.0)).status == 204
                model.beat(minutes)
            case ("pass", minutes):
                minutes = min(minutes, 140 - model.now)
                scene.clock.move(minutes=minutes)
                await scene.unit.watch.look()
                model.pass_time(minutes)
            case ("handshake",):
                assert (await scene.handshake()).status == 204
                model.shake()
            case ("repeat",):
                for said, more in sent[-2:]:
                    assert (await scene.forecast(said, **more)).status == 204
            case ("restart",):
                calls = scene.http.calls
                scene = await Scene(after=scene).begin()
                scene.http.calls += calls
            case (kind, begin, length, power_kw):
                said = block(power_kw, model.now + begin, model.now + begin + length)
                more = {"type": kind, "request_id": f"forecast-{len(sent)}"}
                assert (await scene.forecast(said, **more)).status == 204
                sent.append((said, more))
                blocks = model.limit_kw if kind == "CONSUMPTION" else model.fallback_kw
                blocks[model.now + begin : model.now + begin + length] = [float(power_kw)] * length
            case _:
                raise AssertionError(step)
        assert scene.clock.now() == T + timedelta(minutes=model.now)
        assert (await scene.resolved()).kw == model.binding_kw()

"""From the words of a profile to those of OpenADR: payload types are renamed, and a reduction becomes the limit it leaves.

```
 FLEX 5 of a group whose newest ACTIVE_BASELINE is 20  ->  IMPORT_CAPACITY_LIMIT 15
 IMPORT_CAPACITY_LIMIT in the safe-mode event          ->  IMPORT_CAPACITY_SUBSCRIPTION (what holds when nothing else does)
 CONSUMPTION_POWER_LIMIT                               ->  IMPORT_CAPACITY_LIMIT
```

The translation of OpenADR's own payload types stays the business of `openadr/v3/translate.py`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from gateway.openadr.profiles.pack import PayloadMapping, Profile
from gateway.openadr.profiles.selecting import Found, Json, elements, field_of, select
from gateway.openadr.profiles.values import is_number

MISSING_BASELINE = "baseline-unknown"
"""Name of the finding when a value cannot be counted from anything."""


class BaselineUnknown(Exception):
    """A payload counts from a baseline that the partner has not sent.

    Attributes:
        path: Where the payload is.
        wanted: Payload type of the baseline.
    """

    def __init__(self, path: str, wanted: str) -> None:
        super().__init__(f"{path} counts from {wanted}, and no event for its targets has one")
        self.path = path
        self.wanted = wanted


def in_plain_words(profile: Profile, event: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return an event in the payload types of OpenADR; the given one is not changed.

    Args:
        profile: Whose words it is in.
        event: A compliant event.
        others: The partner's other events, for the baseline a payload counts from.

    Raises:
        BaselineUnknown: There is none for the event's targets.
    """
    kind = profile.kind_of("event", event)
    rules = {one.payload: one for one in profile.mappings if one.kind in {"", kind}}
    rules |= {one.payload: one for one in profile.mappings if one.kind and one.kind == kind}
    if not rules:
        return dict(event)
    said = dict(event)
    said["payloadDescriptors"] = [
        _renamed(one.value, "payloadType", rules) for one in elements(field_of(Found(event), "payloadDescriptors"))
    ]
    said["intervals"] = [_interval(one, rules, event, others) for one in elements(field_of(Found(event), "intervals"))]
    return {name: value for name, value in said.items() if name in event or value}


def _interval(
    one: Found,
    rules: Mapping[str, PayloadMapping],
    event: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
) -> Json:
    if not isinstance(one.value, Mapping):
        return one.value
    payloads = []
    for payload in elements(field_of(one, "payloads")):
        rule = rules.get(str(field_of(payload, "type").value))
        said = _renamed(payload.value, "type", rules)
        if rule is not None and rule.minus_from and isinstance(said, dict):
            start = baseline_of(event, others, rule.minus_from)
            if start is None:
                raise BaselineUnknown(payload.path, rule.minus_from)
            said["values"] = [_less(start, value.value) for value in elements(field_of(payload, "values"))]
        payloads.append(said)
    return {**one.value, "payloads": payloads}


def baseline_of(event: Mapping[str, Any], others: Sequence[Mapping[str, Any]], wanted: str) -> Decimal | None:
    """Return the value of a payload type in the newest event of the same program for one of an event's targets."""
    targets = {str(found.value) for found in select(event, "targets[*]")}
    newest: tuple[str, Decimal] | None = None
    for other in others:
        is_ours = other.get("programID") == event.get("programID") and targets.intersection(
            str(found.value) for found in select(other, "targets[*]")
        )
        if not is_ours:
            continue
        made = str(other.get("createdDateTime") or "")
        for payload in select(other, "intervals[*].payloads[*]"):
            value = next(iter(elements(field_of(payload, "values"))), Found(None)).value
            if field_of(payload, "type").value == wanted and is_number(value) and (newest is None or made >= newest[0]):
                newest = (made, Decimal(str(value)))
    return None if newest is None else newest[1]


def _less(start: Decimal, value: Json) -> Json:
    """Return what is left of the baseline, never below zero; what is no number stays for the translation to refuse."""
    return max(Decimal(0), start - Decimal(str(value))) if is_number(value) else value


def _renamed(value: Json, field: str, rules: Mapping[str, PayloadMapping]) -> Json:
    if not isinstance(value, Mapping):
        return value
    rule = rules.get(str(value.get(field)))
    return dict(value) if rule is None else {**value, field: rule.becomes}

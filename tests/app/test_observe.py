from gateway.ids import RandomIds, SeededIds
from gateway.observe import redact


def test_secrets_are_blanked_by_key_and_by_value() -> None:
    event = redact(
        None,
        "info",
        {
            "api_token": "abc",
            "Authorization": "Bearer abc",
            "url": "https://example.org/api?securityToken=abc&x=1",
            "header": "Bearer abc",
            "zone": "BE",
        },
    )
    assert "abc" not in str(event)
    assert event["zone"] == "BE"
    assert event["url"] == "https://example.org/api?securityToken=***&x=1"


def test_seeded_ids_repeat_and_differ_by_salt() -> None:
    one, same, other = SeededIds(1, "a"), SeededIds(1, "a"), SeededIds(1, "b")
    assert one.new("bid") == same.new("bid") != other.new("bid")
    assert one.uniform(2.0, 3.0) == same.uniform(2.0, 3.0)
    assert 2.0 <= other.uniform(2.0, 3.0) < 3.0


def test_random_ids_are_fresh() -> None:
    ids = RandomIds()
    fresh = {ids.new("bid") for _ in range(100)}
    assert len(fresh) == 100
    assert all(name.startswith("bid-") for name in fresh)
    assert 0.0 <= ids.uniform(0.0, 1.0) < 1.0

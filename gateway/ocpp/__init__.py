"""The reference CSMS: chargers that speak OCPP 1.6J, 2.0.1 or 2.1 connect here and are commanded by the gateway.

A program of its own and an ordinary client of the gateway's gRPC: it reports sessions, telemetry and limits that chargers
announce, takes limits from the dispatch stream, and installs them as charging profiles: the fallback first, then the leased
limit. No driver identity enters its records or leaves it. It imports nothing of the gateway but its client, clock, domain and
generated code.

```
charger --OCPP-J--> server -> conversation -> dialect (1.6 | 2.0.1, 2.1) -> station -> connector -> installer
gateway --gRPC----> uplink ----------------------------------------------> station
```
"""

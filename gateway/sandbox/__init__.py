"""The market in a box: three programs that stand outside the gateway and speak to it over its real interfaces, loopback only.

`grid` is a VTN, `capacity_provider` a grid operator over OSCP, `market` serves prices, carbon, an exchange and a BRP, `fleet` is a charging
platform with chargers and cars. All run on the clock file of `clock.py`, are seeded, and start and stop alike (`program.py`).
They import `gateway.domain` and `gateway.v1` and no other room: sharing the gateway's codecs would hide its bugs. Nobody
imports them; nothing that the product needs may live here.
"""

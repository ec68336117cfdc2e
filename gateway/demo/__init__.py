"""The demo: starts the market in a box and the gateway, keeps market time, and on request plays both people.

It stands outside the gateway: it talks to it over gRPC and HTTP as anybody would, and starts every program as a process of its own.
"""

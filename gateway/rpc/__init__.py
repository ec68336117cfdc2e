"""The gRPC door: interceptors, error mapping and one servicer per service of `proto/gateway/v1`.

A servicer translates messages to domain values, calls one service, and translates back; it decides nothing. Generated code is
imported here and by programs outside the gateway, nowhere else.
"""

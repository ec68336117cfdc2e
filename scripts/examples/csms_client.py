"""A complete charging platform. Usage: python -m scripts.examples.csms_client HOST:PORT TOKEN_FILE CHARGER..."""

import queue
import sys
import time
from pathlib import Path

import grpc

from gateway.v1.dispatch_service_pb2 import Ack, ConnectRequest, Hello, Ping
from gateway.v1.dispatch_service_pb2_grpc import DispatchServiceStub

address, token_file, *chargers = sys.argv[1:]
stub, token = DispatchServiceStub(grpc.insecure_channel(address)), Path(token_file).read_text().strip()
place = Path("csms_client.resume")  # where it was when it was stopped


def _next_message() -> ConnectRequest:
    try:
        return outgoing.get(timeout=1.0)
    except queue.Empty:
        return ConnectRequest(ping=Ping())  # a sign of life


while True:
    resume_token, outgoing = place.read_text() if place.exists() else "", queue.SimpleQueue[ConnectRequest]()
    outgoing.put(ConnectRequest(hello=Hello(charger_ids=chargers, resume_token=resume_token)))
    try:
        stream = stub.Connect(iter(_next_message, None), metadata=(("authorization", f"Bearer {token}"),))
        for limits in (response.limits for response in stream if response.HasField("limits")):
            pairs = zip(limits.charger_index, limits.limit_power_kw, strict=True)  # to a charger: its fallback first
            print(limits.sequence, *(f"{chargers[index]}={kw:g}" for index, kw in pairs), flush=True)
            place.write_text(limits.resume_token)
            outgoing.put(ConnectRequest(ack=Ack(sequence=limits.sequence)))
    except grpc.RpcError as error:
        print(error.code().name, error.details(), file=sys.stderr)
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            place.unlink()  # the gateway no longer knows this place: get everything anew
    time.sleep(0.5 + time.time() % 1.0)  # spread out: many platforms come back at once

"""A sidecar that speaks for a steering box. Usage: python -m scripts.examples.steering_sidecar HOST:PORT TOKEN_FILE BOX.

A line of its input is a limit of consumption in kW, or `off`; it is said until it is answered, and anew after a restart.
"""

import contextlib
import queue
import sys
import threading
import uuid
from pathlib import Path

import grpc

from gateway.v1.steering_service_pb2 import SendHeartbeatRequest, WriteLimitRequest
from gateway.v1.steering_service_pb2_grpc import SteeringServiceStub
from gateway.v1.types_pb2 import DIRECTION_IMPORT as DRAWN

address, token_file, box = sys.argv[1:]
stub, token = SteeringServiceStub(grpc.insecure_channel(address)), Path(token_file).read_text().strip()
words, kw, name, is_said = queue.SimpleQueue[str](), "", "", True
threading.Thread(target=lambda: list(map(words.put, sys.stdin)), daemon=True).start()
who = (("authorization", f"Bearer {token}"),)
while True:
    with contextlib.suppress(queue.Empty):  # a heartbeat at least every 60 s; what was not answered is said again soon
        kw, name, is_said = words.get(timeout=50 if is_said else 1).strip(), uuid.uuid4().hex, False
    try:
        state = stub.SendHeartbeat(SendHeartbeatRequest(box=box), timeout=10, metadata=who).steering_box
        if state.is_silent and is_said and kw:  # the gateway was started anew: the same word is a new request
            name, is_said = uuid.uuid4().hex, False
        if not is_said:
            limit = WriteLimitRequest(request_id=name, box=box, direction=DRAWN, is_active=kw != "off")
            if kw != "off":
                limit.power_kw = float(kw)
            order = stub.WriteLimit(limit, timeout=10, metadata=who).order
            is_said = True
            print(order.rule, order.applied_power_kw if order.HasField("applied_power_kw") else "free", flush=True)
    except grpc.RpcError as error:
        print(error.code().name, error.details(), file=sys.stderr)

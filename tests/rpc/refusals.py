"""What a client sees of a refused call."""

from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Refusal:
    code: grpc.StatusCode
    text: str
    details: dict[str, Message]

    @property
    def reason(self) -> str:
        info = self.details["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert info.domain == "gateway.v1"
        return str(info.reason)

    @property
    def field(self) -> str:
        bad = self.details["BadRequest"]
        assert isinstance(bad, error_details_pb2.BadRequest)
        return str(bad.field_violations[0].field)


def refusal(error: grpc.RpcError) -> Refusal:
    """Read the rich status of a failed call; every refusal of ours has one."""
    assert isinstance(error, grpc.aio.AioRpcError)
    status = rpc_status.from_call(error)
    details: dict[str, Message] = {}
    if status is not None:
        assert (status.code, status.message) == (error.code().value[0], error.details())
        for packed in status.details:
            message = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])()
            packed.Unpack(message)
            details[type(message).__name__] = message
    return Refusal(error.code(), error.details() or "", details)

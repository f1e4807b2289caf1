"""Methods of OVMS and Triton that are not here; a call to one is answered with its name."""

from typing import Any

import grpc

from server.api.kserve_grpc.messages import SERVICE

__all__ = ["MissingMethods"]

MAX_NAME_CHARACTERS = 200


class MissingMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers calls to methods that no other service has; it must be registered last."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """What gRPC calls for a method that no other service has."""
        message = _describe(details.method)

        async def refuse(_: Any, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)

        # Fits any kind of method: a message or none may come, and none is sent.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _describe(method: str) -> str:
    service, _, name = method[:MAX_NAME_CHARACTERS].strip("/").partition("/")
    if service.startswith("tensorflow.serving."):
        return (
            f"TensorFlow Serving's {service} is not here over gRPC; {SERVICE} is, and "
            "POST /v1/models/{model}:predict over HTTP"
        )
    if service == SERVICE and name.startswith("Repository"):
        return f"{name} is not here; the configuration file says which models are served"
    return f"there is no method {method[:MAX_NAME_CHARACTERS]!r}"

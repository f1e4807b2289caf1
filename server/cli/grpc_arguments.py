"""Whether and where gRPC is served, as the command line says it."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from server.api.kserve_grpc.settings import GrpcSettings
from server.api.settings import HttpSettings
from server.cli.http_arguments import HttpArguments
from server.terminal.flag_parser import AddFlag
from server.terminal.flag_values import addresses, at_least, port

__all__ = ["GrpcArguments", "add_grpc_flags"]


@dataclass(frozen=True, slots=True)
class GrpcArguments:
    """The flags about gRPC. Without `port` there is none."""

    port: int | None
    grpc_bind_address: tuple[str, ...] | None
    grpc_memory_quota: int
    grpc_channel_arguments: Mapping[str, int | str]

    def settings(self, http: HttpSettings) -> GrpcSettings:
        """The key, the limits and the access log are those of HTTP."""
        return GrpcSettings(
            keys=http.keys,
            trusted_proxies=http.trusted_proxies,
            tls=http.tls,
            key_scope=http.key_scope,
            request_timeout_s=http.request_timeout_s,
            access_log=http.access_log,
            clients=http.clients,
            memory_quota=self.grpc_memory_quota,
            connections=http.connections,
            channel_arguments=self.grpc_channel_arguments,
        )

    def find_problem(self, http: HttpArguments) -> str | None:
        """Why these flags cannot be used together."""
        if self.port and self.port == http.rest_port:
            return f"--port and --rest_port are both {self.port}; gRPC needs a port of its own"
        return None


def add_grpc_flags(add: AddFlag) -> None:
    """Add the flags of a `GrpcArguments`."""
    add(
        "--port",
        type=port,
        metavar="PORT",
        help="Port for KServe over gRPC, 9000 for example (default: no gRPC). 0 takes a free port.",
    )
    add(
        "--grpc_bind_address",
        type=addresses,
        metavar="ADDRESS",
        help="Address for gRPC (default: that of --rest_bind_address). Several are separated by "
        "commas.",
    )
    add(
        "--grpc_memory_quota",
        type=at_least(1),
        default=GrpcSettings().memory_quota,
        metavar="BYTES",
        help="Most bytes of all gRPC requests that are worked on at once; further ones are refused "
        "(default: 2147483648, 2 GiB). A single request may have 1 GiB.",
    )
    add(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        default={},
        metavar="NAME=VALUE,...",
        help="Arguments for gRPC itself, grpc.max_connection_age_ms=2000 for example.",
    )


def _channel_arguments(text: str) -> Mapping[str, int | str]:
    """gRPC's arguments by name; a whole number is one, anything else is text."""
    arguments: dict[str, int | str] = {}
    for item in filter(None, text.split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and value):
            raise argparse.ArgumentTypeError(f"{item!r} is not NAME=VALUE")
        arguments[name] = _number_or_text(value)
    return arguments


def _number_or_text(value: str) -> int | str:
    try:
        number = int(value)
    except ValueError:
        return value
    # gRPC takes a C int.
    if not -(2**31) <= number < 2**31:
        raise argparse.ArgumentTypeError(f"{value} does not fit into 32 bits")
    return number

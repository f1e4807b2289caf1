"""Where to listen and who may ask, as the command line says it."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from server.api.clients.address import Network
from server.api.clients.api_keys import KeyRing
from server.api.clients.client_limits import ClientLimits
from server.api.clients.wrong_keys import MAX_WRONG_KEYS_PER_MINUTE
from server.api.connections.settings import ConnectionSettings
from server.api.settings import CorsSettings, HttpSettings, KeyScope
from server.cli.access.api_keys import KEY_VARIABLE
from server.host.metrics.ovms_metrics import OPTIONAL_METRICS, check_metric_names
from server.terminal.flag_parser import AddFlag, Switch
from server.terminal.flag_values import addresses, at_least, names, networks, origins, port, seconds

__all__ = ["HttpArguments", "add_http_flags"]


@dataclass(frozen=True, slots=True)
class HttpArguments:
    """The flags about HTTP."""

    rest_port: int
    rest_bind_address: tuple[str, ...]
    api_key_file: Path | None
    api_key_protects: str
    allowed_origins: tuple[str, ...]
    allowed_methods: tuple[str, ...]
    allowed_headers: tuple[str, ...]
    allow_credentials: bool
    allowed_hosts: tuple[str, ...] | None
    trusted_proxies: tuple[Network, ...]
    max_request_bytes: int
    request_timeout_s: float
    header_timeout_s: float
    body_timeout_s: float
    timeout_keep_alive: float
    write_timeout_s: float
    max_connections: int
    max_connections_per_client: int
    rest_memory_quota: int
    max_num_requests_per_client: int
    max_wrong_keys_per_minute: int
    access_log: str
    unknown_fields: str
    metrics_enable: bool
    metrics_list: tuple[str, ...]
    no_web: bool
    lora_folder: Path | None

    def settings(self, keys: KeyRing | None) -> HttpSettings:
        """`keys` are those that clients need, if they need any."""
        return HttpSettings(
            keys=keys,
            key_scope=KeyScope(self.api_key_protects),
            cors=CorsSettings(
                self.allowed_origins,
                self.allowed_methods,
                self.allowed_headers,
                self.allow_credentials,
            ),
            allowed_hosts=self.allowed_hosts,
            trusted_proxies=self.trusted_proxies,
            max_request_bytes=self.max_request_bytes,
            request_timeout_s=self.request_timeout_s,
            body_timeout_s=self.body_timeout_s,
            connections=ConnectionSettings(
                max_connections=self.max_connections,
                max_connections_per_client=self.max_connections_per_client,
                header_timeout_s=self.header_timeout_s,
                timeout_keep_alive_s=self.timeout_keep_alive,
                write_timeout_s=self.write_timeout_s,
                memory_quota=self.rest_memory_quota,
            ),
            access_log=self.access_log == "on",
            clients=ClientLimits(self.max_num_requests_per_client),
            refuses_unknown_fields=self.unknown_fields == "refuse",
            has_page=not self.no_web,
            lora_folder=self.lora_folder,
        )

    def find_problem(self) -> str | None:
        """Why these flags cannot be used together."""
        if self.metrics_list and not self.metrics_enable:
            return "--metrics_list needs --metrics_enable"
        if self.lora_folder is not None and not self.lora_folder.is_dir():
            return f"--lora_folder {self.lora_folder}: no such folder"
        allowed = (*self.allowed_origins, *self.allowed_methods, *self.allowed_headers)
        if self.allow_credentials and "*" in allowed:
            return (
                "--allow_credentials needs names in --allowed_origins, --allowed_methods and "
                "--allowed_headers: browsers do not take * as all when credentials are sent"
            )
        return None


def add_http_flags(add: AddFlag) -> None:
    """Add the flags of an `HttpArguments`."""
    _add_address_flags(add)
    _add_metrics_flags(add)


def _add_address_flags(add: AddFlag) -> None:
    add(
        "--rest_port",
        type=port,
        default=8000,
        metavar="PORT",
        help="Port to listen on (default: 8000). 0 takes a free port.",
    )
    add(
        "--rest_bind_address",
        type=addresses,
        default=("127.0.0.1",),
        metavar="ADDRESS",
        help="Address to listen on (default: 127.0.0.1, only this machine). 0.0.0.0 opens the "
        "server to the network. Several are separated by commas.",
    )
    _add_access_flags(add)
    add(
        "--max_request_bytes",
        type=at_least(1),
        default=HttpSettings().max_request_bytes,
        metavar="BYTES",
        help="Largest body of a request (default: 67108864, 64 MiB).",
    )
    add(
        "--request_timeout_s",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="Longest time of a request, from its headers to the end of the answer (default: 0, no "
        "limit).",
    )
    _add_connection_flags(add)
    add(
        "--max_num_requests_per_client",
        type=at_least(0),
        default=0,
        metavar="NUMBER",
        help="Most requests that one client, an API key or else an address, has at work at once, "
        "over HTTP and gRPC (default: 0, no limit). Above it a request gets status 429. Each "
        "prompt, answer, text or image of a request counts.",
    )
    add(
        "--access_log",
        choices=["on", "off"],
        default="on",
        help="Write a log line for each request (default: on).",
    )
    add(
        "--unknown_fields",
        choices=["ignore", "refuse"],
        default="ignore",
        help="What to do with request fields of unknown names (default: ignore). ignore names them "
        "in the header X-Ignored-Fields of the answer and once in the log.",
    )
    add(
        "--lora_folder",
        type=Path,
        metavar="FOLDER",
        help="Let POST /v1/load_lora_adapter load LoRA adapters from below this folder into text "
        "models that serve (default: none may be loaded). Each text model gets branches for them, "
        "which cost a little time.",
    )
    add("--no_web", action=Switch, help="Serve no page for people at /.")


def _add_access_flags(add: AddFlag) -> None:
    add(
        "--api_key_file",
        type=Path,
        metavar="FILE",
        help="File of the API keys that clients must send: one key, or lines of name: key, or a "
        "list in YAML or JSON with limits. It is read again when it changes. Without it, the "
        f"environment variable {KEY_VARIABLE} is the key; without both, no key is needed.",
    )
    add(
        "--api_key_protects",
        choices=[str(scope) for scope in KeyScope],
        default=str(KeyScope.CHANGES),
        help="Requests that need the key (default: changes). changes: all but GET, and GET "
        "/v1/status; all_but_health: all but the probes; all: all. The files of the page at / need "
        "none.",
    )
    add(
        "--max_wrong_keys_per_minute",
        type=at_least(0),
        default=MAX_WRONG_KEYS_PER_MINUTE,
        metavar="NUMBER",
        help="Most wrong API keys that one address may send within a minute; further wrong ones "
        f"get status 429, right ones are taken (default: {MAX_WRONG_KEYS_PER_MINUTE}). 0 is no "
        "limit.",
    )
    add(
        "--allowed_origins",
        type=origins,
        default=CorsSettings().origins,
        metavar="ORIGINS",
        help="Origins whose pages may use the server from a browser, separated by commas "
        "(default: localhost, the pages of this machine on any port). * means all.",
    )
    add(
        "--allowed_methods",
        type=names,
        default=("*",),
        metavar="METHODS",
        help="HTTP methods that those pages may use (default: *, all).",
    )
    add(
        "--allowed_headers",
        type=names,
        default=("*",),
        metavar="HEADERS",
        help="HTTP headers that those pages may send (default: *, all).",
    )
    add(
        "--allow_credentials",
        action=Switch,
        help="Let those pages send cookies and other credentials. The three flags above must then "
        "list names.",
    )
    add(
        "--allowed_hosts",
        type=addresses,
        metavar="NAMES",
        help="Names under which the server may be asked, separated by commas; the names of this "
        "machine always are (default: no others if only this machine can ask, else any). * means "
        "any.",
    )
    add(
        "--trusted_proxies",
        type=networks,
        default=(),
        metavar="NETWORKS",
        help="Proxies that tell in X-Forwarded-For for whom they ask: addresses or networks, "
        "separated by commas (default: none, each address is a client).",
    )


def _add_connection_flags(add: AddFlag) -> None:
    defaults = HttpSettings()
    limits = defaults.connections
    add(
        "--header_timeout_s",
        type=seconds,
        default=limits.header_timeout_s,
        metavar="SECONDS",
        help="Longest time from a connection's start, or from the first byte of a further request, "
        f"to the end of the request's headers (default: {limits.header_timeout_s:g}). 0 is no "
        "limit.",
    )
    add(
        "--body_timeout_s",
        type=seconds,
        default=defaults.body_timeout_s,
        metavar="SECONDS",
        help="Longest time for the body of a request, besides a second for every 500 bytes that "
        f"have come (default: {defaults.body_timeout_s:g}). 0 is no limit.",
    )
    add(
        "--timeout_keep_alive",
        type=seconds,
        default=limits.timeout_keep_alive_s,
        metavar="SECONDS",
        help="Time that a connection may wait for its next request (default: "
        f"{limits.timeout_keep_alive_s:g}). A proxy in front should have a shorter one. 0 is no "
        "limit.",
    )
    add(
        "--write_timeout_s",
        type=seconds,
        default=limits.write_timeout_s,
        metavar="SECONDS",
        help="Time in which a client that gets an answer must read at least 16 KiB of it, if there "
        f"is as much (default: {limits.write_timeout_s:g}). 0 is no limit.",
    )
    add(
        "--max_connections",
        type=at_least(0),
        default=limits.max_connections,
        metavar="NUMBER",
        help="Most connections at once; idle ones are closed to make room for new ones (default: "
        f"{limits.max_connections}). 0 is no limit.",
    )
    add(
        "--max_connections_per_client",
        type=at_least(0),
        default=limits.max_connections_per_client,
        metavar="NUMBER",
        help="Most connections of one address, or of one /64 network of IPv6; those from this "
        "machine and of --trusted_proxies do not count (default: "
        f"{limits.max_connections_per_client}). 0 is no limit.",
    )
    add(
        "--rest_memory_quota",
        type=at_least(0),
        default=limits.memory_quota,
        metavar="BYTES",
        help="Most bytes of the bodies of all HTTP requests at once; further ones get 503 "
        "(default: 2147483648, 2 GiB). 0 is no limit.",
    )


def _add_metrics_flags(add: AddFlag) -> None:
    add(
        "--metrics_enable",
        action=Switch,
        help="Add the metrics of OpenVINO Model Server, ovms_..., to GET /metrics, which has all "
        "others always.",
    )
    add(
        "--metrics_list",
        type=_metric_names,
        default=(),
        metavar="NAME,...",
        help="With --metrics_enable: only these of Model Server's metrics. Without it, all but "
        f"{' and '.join(OPTIONAL_METRICS)}.",
    )


def _metric_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        check_metric_names(names)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names

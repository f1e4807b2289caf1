"""The command line of `server`: which flags there are, and whether they fit together."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from server.cli.access.tls_arguments import TlsArguments, add_tls_flags
from server.cli.export_arguments import ExportArguments, add_export_flags
from server.cli.grpc_arguments import GrpcArguments, add_grpc_flags
from server.cli.http_arguments import HttpArguments, add_http_flags
from server.cli.log.arguments import LogArguments, add_log_flags
from server.cli.model_arguments import CONFIG_NAME, ModelArguments, add_model_flags
from server.cli.named_model import find_named_model
from server.cli.ovms_flags import add_ovms_flags
from server.cli.replicas.arguments import ReplicaArguments, add_replica_flags
from server.cli.serving_arguments import ServingArguments, add_serving_flags
from server.cli.versions import describe_versions
from server.errors import ConfigError
from server.terminal.completion import SHELLS
from server.terminal.flag_parser import AddFlag, FlagParser, HelpFlag, Switch, pick

__all__ = ["CommandLine", "make_parser", "parse_command_line"]

EX_USAGE = 64
USAGE = """server [MODEL] [FLAGS]
       server chat [MODEL] [FLAGS]
       server top [FLAGS]"""
DESCRIPTION = """Serve models of text, embeddings, reranking, speech and images over HTTP and gRPC.

MODEL is the folder of a model, a Hugging Face id (org/name), or tiny_chat, a small model that comes
with this package. A Hugging Face model is exported to OpenVINO first. `server chat` opens a chat in
this terminal, `server top` shows what a running server does; each has a --help of its own.

Examples:
  server tiny_chat                               Serve the model that comes with the package.
  server models/m                                Serve the model in a folder.
  server --config_path models/config.json        Serve the models that a file lists.
  server Qwen/Qwen3-8B --weight-format int4      Export a model, then serve it.
  server --check --config_path config.json       Read all models and look for mistakes.
"""
BASICS = (
    "--config_path",
    "--model_name",
    "--rest_port",
    "--rest_bind_address",
    "--api_key_file",
    "--target_device",
    "--weight-format",
    "--log_level",
    "--check",
    "--version",
    "--help",
)
MODES = (
    "check",
    "verify",
    "list_calculators",
    "list_models",
    "add_to_config",
    "remove_from_config",
    "configure",
    "pull",
    "completion",
)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the command line says, split by what it configures.

    `mode` is the flag that says to do something else than serving, if there is one.
    """

    mode: str | None
    models: ModelArguments
    export: ExportArguments
    http: HttpArguments
    tls: TlsArguments
    grpc: GrpcArguments
    serving: ServingArguments
    replicas: ReplicaArguments
    log: LogArguments
    shell: str | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def make_parser() -> FlagParser:
    """The parser of all flags."""
    parser = FlagParser(
        prog="server",
        usage=USAGE,
        description=DESCRIPTION,
        usage_status=EX_USAGE,
        basics=BASICS,
    )
    add_model_flags(parser.add_section("models", "What to serve"))
    add_export_flags(parser.add_section("export", "How to export a model before it is served"))
    add_http_flags(parser.add_section("http", "Address, access and limits"))
    add_tls_flags(parser.add_section("tls", "Encrypted connections"))
    add_grpc_flags(parser.add_section("grpc", "KServe over gRPC"))
    add_serving_flags(parser.add_section("loading", "Loading, watching and stopping models"))
    add_replica_flags(parser.add_section("replicas", "Several processes on one machine"))
    add_log_flags(parser.add_section("log", "Log and traces"))
    _add_modes(parser.add_section("modes", "What to do instead of serving"))
    add_ovms_flags(parser.add_section("ovms", "OVMS's flags that have no effect here"))
    return parser


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Parse the command line; ends the process with status 64 if it cannot be used."""
    parser = make_parser()
    namespace, leftovers = parser.parse_known_args(arguments)
    if leftovers and not leftovers[0].startswith("-"):
        # Not a positional of argparse, which takes an optional one only before all flags.
        named, *leftovers = leftovers
    else:
        named = None
    parser.refuse_unknown(leftovers)
    modes = [mode for mode in MODES if getattr(namespace, mode)]
    models = pick(ModelArguments, namespace)
    notes: tuple[str, ...] = ()
    try:
        if len(modes) > 1:
            flags = " and ".join(f"--{mode}" for mode in modes)
            raise ConfigError(f"{flags} cannot be used together")
        mode = modes[0] if modes else None
        if named is not None:
            models, notes = find_named_model(named, models, can_export=mode in (None, "pull"))
    except ConfigError as error:
        parser.error(str(error))
    command_line = CommandLine(
        mode,
        models,
        pick(ExportArguments, namespace),
        pick(HttpArguments, namespace),
        pick(TlsArguments, namespace),
        pick(GrpcArguments, namespace),
        pick(ServingArguments, namespace),
        pick(ReplicaArguments, namespace),
        pick(LogArguments, namespace),
        namespace.completion,
        notes,
        (*namespace.warnings, *_warn_of_group(models)),
    )
    problem = _find_problem(command_line)
    if problem is not None:
        parser.error(problem)
    return command_line


def _find_problem(line: CommandLine) -> str | None:
    """Why the flags cannot be used together."""
    mode, models = line.mode, line.models
    problem = (
        line.http.find_problem()
        or line.tls.find_problem()
        or line.export.find_problem(models, mode)
    )
    problem = problem or line.grpc.find_problem(line.http) or _find_unused_model_flag(line)
    if problem is not None or mode in ("list_calculators", "completion"):
        return problem
    if mode == "list_models":
        return None if models.repository else "--list_models needs --model_repository_path"
    if mode == "verify" and models.model_name is None:
        return "--verify needs MODEL, for example: server --verify models/m"
    if mode in ("add_to_config", "remove_from_config"):
        return _find_editing_problem(models, mode)
    return None if mode == "configure" else models.find_problem()


def _find_unused_model_flag(line: CommandLine) -> str | None:
    models, mode = line.models, line.mode
    is_single = models.model_name is not None and models.source_model is None
    if is_single and mode != "remove_from_config":
        return None
    flags = [f"--{key}" for key in models.model_keys or ()]
    if not (models.source_model or mode == "configure"):
        flags += ["--target_device"] if models.target_device is not None else []
        flags += ["--task"] if models.task is not None else []
        flags += [flag for flag, _ in models.task_flags]
    if not flags:
        return None
    return f"{flags[0]} is for one model: it needs MODEL, or --model_name and --model_path"


def _warn_of_group(models: ModelArguments) -> tuple[str, ...]:
    if models.group_name is None or models.model_name or models.source_model:
        return ()
    return ("--group_name has no effect: it is for one model; config.json has it in each entry",)


def _find_editing_problem(models: ModelArguments, mode: str) -> str | None:
    if not models.model_name:
        return f"--{mode} needs --model_name"
    if models.config_path is None and models.repository is None:
        return f"--{mode} needs --config_path, or --model_repository_path with a {CONFIG_NAME}"
    if mode == "add_to_config" and models.model_path is None and models.repository is None:
        return f"--{mode} needs --model_path, or --model_repository_path"
    return None


def _add_modes(add: AddFlag) -> None:
    add(
        "--check",
        action="store_true",
        help="Check the configuration, every graph and every model: its files are complete and can "
        "be read, its device is there, its architecture can be served, and no verification of it "
        "has failed. Nothing is compiled, and memory is not checked.",
    )
    add(
        "--verify",
        action="store_true",
        help="Compare the exported model in the folder MODEL with its PagedAttention form, token "
        "by token. The result is kept beside the model and shown in /v1/config.",
    )
    add("--pull", action=Switch, help="Export --source_model, or MODEL. It is not served.")
    add(
        "--configure",
        action=Switch,
        help="Write a graph.pbtxt into --model_path. The flags of --help export say what is in it.",
    )
    add("--list_calculators", action="store_true", help="List the calculators for graph.pbtxt.")
    add("--list_models", action=Switch, help="List the models below --model_repository_path.")
    add(
        "--add_to_config",
        action=Switch,
        help="Add the model of --model_name and --model_path to --config_path.",
    )
    add(
        "--remove_from_config",
        action=Switch,
        help="Remove the model of --model_name from --config_path.",
    )
    add(
        "--completion",
        choices=SHELLS,
        help="Print a script that completes this command with Tab. For bash, add to ~/.bashrc: "
        "source <(server --completion bash)",
    )
    add(
        "--version",
        action=_Version,
        nargs=0,
        help="Show the versions of this server, OpenVINO and Python.",
    )
    add("-h", "--help", action=HelpFlag, help="Show this help, a section of it, or all of it.")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(describe_versions("server"))
        parser.exit()

"""The content of config.json or config.yaml -> the models to serve.

The files are OpenVINO Model Server's: `model_config_list` and the older `mediapipe_config_list`.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from server.errors import ConfigError, ModelLoadError, describe_value, did_you_mean
from server.host.metrics.ovms_metrics import check_metric_names
from server.models.classic_config import CLASSIC_MODEL_KEYS, ClassicConfig
from server.models.config_document import is_folder, read_document

__all__ = [
    "DEFAULT_GRAPH_NAME",
    "ModelConfig",
    "ServerConfig",
    "load_config",
    "single_model_config",
]

logger = logging.getLogger(__name__)

DEFAULT_GRAPH_NAME = "graph.pbtxt"
SUBCONFIG_NAME = "subconfig.json"
PERMANENT_GROUP = "permanent"

GRAPH_KEYS = ("name", "base_path", "graph_path", "subconfig", "group_name")
MODEL_LISTS = ("model_config_list", "mediapipe_config_list")
# Lists of OVMS that may be there empty. One with entries is refused with this reason.
REFUSED_LISTS: Mapping[str, str] = {
    "pipeline_config_list": "OVMS's DAG pipelines are not here yet; describe the pipeline in a "
    "graph.pbtxt",
    "custom_node_library_config_list": "OVMS's custom node libraries are not here yet; write a "
    "calculator in Python",
    "custom_loader_config_list": "OVMS's custom loaders are not here yet; put plain model files "
    "into a folder",
}
TOP_LEVEL_KEYS = (*MODEL_LISTS, *REFUSED_LISTS, "monitoring")
REMOTE = re.compile("(?i)(s3|gs|azfs|azure|az|https?)://")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One entry of the configuration; paths are absolute.

    `is_graph` is True where the file says that the entry is a graph (`mediapipe_config_list`).
    `model_folder` is the folder of a version of a model without a graph; find_versions of
    server.models.classic_model sets it. Models of the same `group_name` are loaded and unloaded
    together; without one, a model is alone. A model need not be loaded again to change its group.
    """

    name: str
    base_path: Path
    graph_path: Path
    is_graph: bool = False
    classic: ClassicConfig = field(default_factory=ClassicConfig)
    version: int = 1
    model_folder: Path | None = None
    group_name: str = field(default="", compare=False)

    @property
    def group(self) -> tuple[str, bool]:
        """The name of its group; or its own name, and True."""
        return (self.group_name, False) if self.group_name else (self.name, True)

    @property
    def is_permanent(self) -> bool:
        """Whether it is never unloaded while it is configured."""
        return self.group_name == PERMANENT_GROUP

    @property
    def key(self) -> tuple[str, int]:
        """Name and version, which identify the entry."""
        return self.name, self.version

    @property
    def label(self) -> str:
        """The name for log messages, with the version if there can be several."""
        has_versions = self.model_folder not in (None, self.base_path)
        return f"{self.name} version {self.version}" if has_versions else self.name

    @property
    def names_graph(self) -> bool:
        """Whether the configuration names a graph; no other one may take its place."""
        return self.graph_path != self.base_path / DEFAULT_GRAPH_NAME

    def graph_candidates(self) -> tuple[Path, ...]:
        """Where the graph may be: where `graph_path` says, else in the folder or its folder 1."""
        if self.names_graph:
            return (self.graph_path,)
        return self.graph_path, self.base_path / "1" / DEFAULT_GRAPH_NAME

    def find_graph(self) -> Path | None:
        """The graph file; None for a model without a graph."""
        return next((path for path in self.graph_candidates() if _is_file(path)), None)

    def require_graph(self) -> Path:
        """The graph file. Raises ModelLoadError if there is none."""
        path = self.find_graph()
        if path is None:
            if self.names_graph:
                raise ModelLoadError(f"{self.graph_path}: no such file; correct graph_path")
            places = " nor ".join(str(place) for place in self.graph_candidates())
            problem = f"there is neither {places}"
            raise ModelLoadError(f"{problem}; write a graph.pbtxt there, or correct base_path")
        return path


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Every model to serve, in the order of the file, each name once.

    `path` is the file; None where the command line named the model. `subconfigs` are the files
    beside graphs that were read, too. `metrics` are those of Model Server to show, where the file
    turns them on: the names that it lists, or none for the default ones.
    """

    models: tuple[ModelConfig, ...]
    path: Path | None = None
    subconfigs: tuple[Path, ...] = ()
    metrics: tuple[str, ...] | None = None


def load_config(path: Path) -> ServerConfig:
    """Read a configuration file, or the one in a folder. Raises ConfigError."""
    return _ConfigReader(*read_document(path)).read()


def single_model_config(
    name: str, model_path: Path, keys: Mapping[str, Any] | None = None
) -> ServerConfig:
    """The configuration of one model given on the command line. Raises ConfigError.

    `keys` are config.json's keys for a model without a graph.
    """
    if not name:
        raise ConfigError("--model_name is empty; it must be the name that clients ask for")
    if not is_folder(model_path):
        raise ConfigError(f"--model_path {model_path}: no such folder")
    model = _model(name, model_path.absolute(), None, is_graph=False)
    keys = dict(keys or {})
    for key in ("plugin_config", "task"):
        if key in keys and model.find_graph() is not None:
            # OVMS takes it for a graph as well.
            logger.warning("--%s has no effect: %s has a graph", key, model_path)
            del keys[key]
    if not keys:
        return ServerConfig((model,))
    if model.find_graph() is not None:
        flag = next(iter(keys))
        raise ConfigError(f"--{flag} is for a model without a graph; {model_path} has a graph")
    try:
        return ServerConfig((replace(model, classic=ClassicConfig.parse(keys)),))
    except ValueError as error:
        raise ConfigError(f"--{error}") from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that the file system refuses, for example one that is too long
        return False


def _model(name: str, base_path: Path, graph_path: str | None, *, is_graph: bool) -> ModelConfig:
    return ModelConfig(name, base_path, base_path / (graph_path or DEFAULT_GRAPH_NAME), is_graph)


class _ConfigReader:
    """Turns the parsed document into a ServerConfig; every error names its place in the file."""

    def __init__(self, file: Path, document: object) -> None:
        self._file = file
        self._document = document
        self._models: dict[str, ModelConfig] = {}
        self._named_subconfigs: list[tuple[ModelConfig, str, str]] = []
        self._subconfigs: list[Path] = []

    def models(self) -> Sequence[ModelConfig]:
        """Only those of model_config_list, without further files beside them."""
        top = self._mapping(self._document, "")
        self._refuse_unknown(top, "", TOP_LEVEL_KEYS)
        self._read_model_config_list(self._list(top, "model_config_list"))
        return tuple(self._models.values())

    def read(self) -> ServerConfig:
        top = self._mapping(self._document, "")
        self._refuse_unknown(top, "", TOP_LEVEL_KEYS)
        for key, reason in REFUSED_LISTS.items():
            if self._list(top, key):
                self._fail(f"{key}:", reason)
        if not any(key in top for key in MODEL_LISTS):
            self._fail("model_config_list", 'is missing; the least is {"model_config_list": []}')
        metrics = self._read_monitoring(top)
        self._read_model_config_list(self._list(top, "model_config_list"))
        self._read_mediapipe_config_list(self._list(top, "mediapipe_config_list"))
        for model, name, where in self._named_subconfigs:
            self._read_subconfig(model, name, where)
        subconfigs = tuple(self._subconfigs)
        return ServerConfig(tuple(self._models.values()), self._file, subconfigs, metrics)

    def _read_monitoring(self, top: Mapping[str, Any]) -> tuple[str, ...] | None:
        """The metrics of Model Server to show; None where they are off."""
        if "monitoring" not in top:
            return None
        where = "monitoring.metrics"
        monitoring = self._mapping(top["monitoring"], "monitoring")
        self._refuse_unknown(monitoring, "monitoring", ("metrics",))
        metrics = self._mapping(monitoring.get("metrics", {}), where)
        self._refuse_unknown(metrics, where, ("enable", "metrics_list"))
        is_on, names = metrics.get("enable", False), metrics.get("metrics_list", [])
        if not isinstance(is_on, bool):
            self._fail(f"{where}.enable", f"must be true or false, found {describe_value(is_on)}")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            found = describe_value(names)
            self._fail(f"{where}.metrics_list", f"must be a list of names, found {found}")
        try:
            check_metric_names(names)
        except ValueError as error:
            self._fail(f"{where}.metrics_list:", str(error))
        if names and not is_on:
            self._fail(f"{where}.metrics_list", 'needs "enable": true')
        return tuple(names) if is_on else None

    def _read_model_config_list(self, entries: Sequence[object]) -> None:
        for i, entry in enumerate(entries):
            where = f"model_config_list[{i}]"
            wrapper = self._mapping(entry, where)
            self._refuse_unknown(wrapper, where, ("config",))
            if "config" not in wrapper:
                self._fail(f"{where}.config", "is missing")
            where = f"{where}.config"
            config = self._mapping(wrapper["config"], where)
            self._refuse_unknown(config, where, (*GRAPH_KEYS, *CLASSIC_MODEL_KEYS))
            model = self._add_model(config, where, is_graph=False)
            # With options a graph is not loaded at all; they are no key of OVMS's.
            unused = sorted(config.keys() & set(CLASSIC_MODEL_KEYS) - {"options"})
            if unused and model.find_graph():
                keys = ", ".join(unused)
                logger.warning("%s: %s: no effect on a graph: %s", self._file, where, keys)

    def _read_mediapipe_config_list(self, entries: Sequence[object]) -> None:
        for i, entry in enumerate(entries):
            where = f"mediapipe_config_list[{i}]"
            config = self._mapping(entry, where)
            self._refuse_unknown(config, where, GRAPH_KEYS)
            self._add_model(config, where, is_graph=True)

    def _add_model(self, config: Mapping[str, Any], where: str, *, is_graph: bool) -> ModelConfig:
        if "name" not in config:
            self._fail(f"{where}.name", "is missing")
        name = self._string(config, "name", where)
        if not name:
            self._fail(f"{where}.name", "is empty")
        # Without base_path: the folder with the model's name next to the file.
        folder = self._string(config, "base_path", where) or name
        if REMOTE.match(folder):
            problem = f"is {folder!r}; OVMS's remote storage is not here yet, so download the model"
            self._fail(f"{where}.base_path", f"{problem} into a folder")
        base_path = self._file.parent / folder
        graph_path = self._string(config, "graph_path", where)
        model = _model(name, base_path, graph_path, is_graph=is_graph)
        try:
            model = replace(
                model,
                classic=ClassicConfig.parse(config),
                group_name=self._string(config, "group_name", where),
            )
        except ValueError as error:
            self._fail(f"{where}.{error}", "")
        self._note_model(model, where)
        self._named_subconfigs.append((model, self._string(config, "subconfig", where), where))
        return self._models[name]

    def _note_model(self, model: ModelConfig, where: str) -> None:
        if model.name in self._models:
            problem = "is listed twice; the first is used"
            logger.warning("%s: %s: %r %s", self._file, where, model.name, problem)
        self._models.setdefault(model.name, model)

    def _read_subconfig(self, model: ModelConfig, name: str, where: str) -> None:
        """Add the models that a file beside a graph lists; OVMS's graphs use them in sessions."""
        file = model.base_path / (name or SUBCONFIG_NAME)
        if not _is_file(file):
            if name:
                logger.warning("%s: %s: subconfig: there is no file %s", self._file, where, file)
            return
        if not (model.is_graph or model.find_graph()):
            return
        self._subconfigs.append(file)
        for each in _ConfigReader(*read_document(file)).models():
            self._note_model(each, f"{where}: subconfig")

    def _mapping(self, value: object, where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._fail(where, f"must be an object, found {describe_value(value)}")
        return value

    def _list(self, mapping: Mapping[str, Any], key: str) -> Sequence[object]:
        value = mapping.get(key, [])
        if not isinstance(value, list):
            self._fail(key, f"must be a list, found {describe_value(value)}")
        return value

    def _string(self, mapping: Mapping[str, Any], key: str, where: str) -> str:
        value = mapping.get(key, "")
        if not isinstance(value, str):
            self._fail(f"{where}.{key}", f"must be a string, found {describe_value(value)}")
        if not value.isprintable():
            self._fail(f"{where}.{key}", f"holds a character that cannot be used: {value!r}")
        return value

    def _refuse_unknown(
        self, mapping: Mapping[Any, Any], where: str, known: Collection[str]
    ) -> None:
        for key in mapping:
            if key not in known:
                self._fail(f"{where}.{key}".lstrip("."), f"is unknown{_hint(key, known)}")

    def _fail(self, where: str, problem: str) -> NoReturn:
        raise ConfigError(f"{self._file}: {where or 'the file'} {problem}")


def _hint(key: object, known: Iterable[str]) -> str:
    names = sorted(known)
    return did_you_mean(str(key), names) or f"; possible: {', '.join(names)}"

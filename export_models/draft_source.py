"""The draft model of a text model, as the flags of OVMS name it."""

import argparse
from dataclasses import dataclass

from export_models.model_repository import check_model_name
from export_models.source import Source, SourceKind, find_source
from server.terminal.export_help import EXPORT_HELP
from server.terminal.flag_parser import FlagParser

__all__ = ["DraftSource", "add_draft_flags", "check_draft_flags", "find_draft_source"]

SOURCE_FLAG, NAME_FLAG = "--draft_source_model", "--draft_model_name"


@dataclass(frozen=True)
class DraftSource:
    """`folder_name` is where it is exported to, in the folder of the model."""

    source: Source
    folder_name: str

    @property
    def is_in_place(self) -> bool:
        """Whether it is an OpenVINO folder already, which is used where it is."""
        return self.source.kind is SourceKind.OPENVINO_FOLDER

    @property
    def models_path(self) -> str:
        """The option `draft_models_path`."""
        return self.source.location if self.is_in_place else f"./{self.folder_name}"


def add_draft_flags(parser: FlagParser) -> None:
    """Add the flags of speculative decoding."""
    add = parser.add_section("speculation", "How tokens are guessed, to compute several at once")
    add(SOURCE_FLAG, metavar="MODEL", help=EXPORT_HELP[SOURCE_FLAG])
    add(
        NAME_FLAG,
        metavar="NAME",
        help="Folder of the draft model, in the folder of the model; '/' becomes '-' (default: the "
        "draft model's Hugging Face id, or the name of its folder).",
    )
    add(
        "--prompt_lookup_decoding",
        action="store_true",
        help="Guess what followed the last tokens where they occurred before; needs no draft "
        "model.",
    )


def check_draft_flags(parser: FlagParser, values: argparse.Namespace) -> None:
    """End with an error for flags that need others."""
    if values.draft_model_name is not None and values.draft_source_model is None:
        parser.error(f"{NAME_FLAG}: is for {SOURCE_FLAG}, which is not given")


def find_draft_source(values: argparse.Namespace) -> DraftSource | None:
    """Look at the draft model; None without one. Raises ExportError."""
    if values.draft_source_model is None:
        return None
    source = find_source(values.draft_source_model, SOURCE_FLAG)
    # OVMS has all of the id in one folder name.
    folder_name = (values.draft_model_name or source.model_name).replace("/", "-")
    check_model_name(folder_name, NAME_FLAG)
    return DraftSource(source, folder_name)

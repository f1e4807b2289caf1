"""The bodies of the endpoints that load and unload adapters, as vLLM has them."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from server.protocol.field_rules import FieldRules
from server.protocol.validation import validate_fields

__all__ = [
    "ADAPTER_RULES",
    "LoadAdapterFields",
    "UnloadAdapterFields",
    "parse_load_adapter",
    "parse_unload_adapter",
]

ADAPTER_RULES = FieldRules({})

MAX_NAME_CHARACTERS = 256
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]


class UnloadAdapterFields(BaseModel):
    """`model` is the adapter's model; it may be left out where only one can be meant."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, json_schema_extra=ADAPTER_RULES.describe
    )

    lora_name: Name
    model: str | None = None


class LoadAdapterFields(UnloadAdapterFields):
    """`lora_path` is a folder; with `load_inplace` one of the same name may be replaced."""

    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]
    load_inplace: bool = False


def parse_load_adapter(fields: Mapping[str, Any]) -> LoadAdapterFields:
    """Raises InvalidRequestError."""
    return validate_fields(LoadAdapterFields, fields, ADAPTER_RULES)


def parse_unload_adapter(fields: Mapping[str, Any]) -> UnloadAdapterFields:
    """Raises InvalidRequestError."""
    return validate_fields(UnloadAdapterFields, fields, ADAPTER_RULES)

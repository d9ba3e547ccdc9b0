"""The settings that every part of the contract shares: camelCase in YAML, snake_case in Python, immutable, and no unknown fields.

It also holds the bounded scalar types that several parts use, so that one bound is written once.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.alias_generators import to_camel

from reasonrl.api.quantity import format_quantity, parse_quantity, quantity_text


class ContractModel(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        use_attribute_docstrings=False,
        protected_namespaces=(),
    )


DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A Kubernetes name: lower-case letters, digits and dashes, beginning and ending with a letter or digit."""

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of another object of the cluster: as a DnsLabel, and longer, with dots."""

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]

ShortText = Annotated[str, Field(min_length=1, max_length=256)]
PathText = Annotated[str, Field(min_length=1, max_length=4096)]
Template = Annotated[str, Field(min_length=1, max_length=16384)]

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A whole number of at least one."""
NonNegativeCount = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Tokens = Annotated[int, Field(ge=1, le=16_777_216)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Temperature = Annotated[float, Field(gt=0.0, le=10.0)]
Coefficient = Annotated[float, Field(ge=0.0, le=1000.0)]
FreeObject = Annotated[dict[Annotated[str, Field(min_length=1, max_length=128)], JsonValue], Field(max_length=64)]
"""An object whose fields are somebody else's."""

_WrittenBytes = (
    Annotated[int, Field(ge=1, le=2**62)]
    | Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(k|[MGTPE]|[KMGTPE]i)?$")]
)

Bytes = Annotated[
    int,
    BeforeValidator(parse_quantity, json_schema_input_type=_WrittenBytes),
    PlainSerializer(format_quantity, return_type=str, when_used="json"),
    Field(ge=1, le=2**62),
]
"""A Kubernetes quantity of bytes, such as `50Gi`; a plain number is bytes. In Python always a number of bytes."""

_WrittenAmount = (
    Annotated[int, Field(ge=0, le=2**62)]
    | Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$")]
)

Amount = Annotated[
    str,
    BeforeValidator(quantity_text, json_schema_input_type=_WrittenAmount),
    Field(min_length=1, max_length=32),
]
"""A Kubernetes quantity of anything, such as `500m` CPUs or `64Gi`, as it was written. In Python always text."""

DurationSeconds = Annotated[int, Field(ge=1, le=31_536_000)]
"""A time span of a second to a year, in seconds."""

"""The converter: values to Temporal's payloads and back, by pydantic.

It must not know which values there are.
"""

from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter


class SharedPayloadConverter(PydanticPayloadConverter):
    """One instance for all. It holds nothing but a cache of how to read each type, while the SDK makes one for every
    step of every Temporal workflow and reads each of its types anew: a tenth of all its work."""

    _one: "SharedPayloadConverter | None" = None

    def __new__(cls) -> "SharedPayloadConverter":
        if cls._one is None:
            cls._one = super().__new__(cls)
            PydanticPayloadConverter.__init__(cls._one)
        return cls._one

    def __init__(self) -> None:
        """Nothing: the one instance is ready."""


CONVERTER = DataConverter(payload_converter_class=SharedPayloadConverter)

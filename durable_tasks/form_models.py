"""Form models: the JSON Schema of a pydantic model, written so that every form can be checked.

It must not know tasks, nor which schemas are accepted as forms.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DecimalSchema

_COUNTED = 100
"""Digits that a pattern counts: a form's patterns are short."""


def form_of(model: type[BaseModel]) -> dict[str, Any]:
    """What an output must be for `model` to take it."""
    return model.model_json_schema(schema_generator=_Forms)


class _Forms(GenerateJsonSchema):
    def decimal_schema(self, schema: DecimalSchema) -> JsonSchemaValue:
        """A number, or text with its digits. Pydantic's own pattern looks around, if it has one: forms cannot."""
        number: JsonSchemaValue = {"type": "number"}
        bounds = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
        for name, keyword in {**bounds, "multiple_of": "multipleOf"}.items():
            bound: Any = schema.get(name)
            if bound is not None:
                number[keyword] = float(bound)
        return {"anyOf": [number, {"type": "string", "pattern": _digits(schema)}]}


def _digits(schema: DecimalSchema) -> str:
    places, digits = schema.get("decimal_places"), schema.get("max_digits")
    whole = None if digits is None else max(digits - (places or 0), 0)
    after = _counted(digits if places is None else places)
    # A digit at least, before the point or after it; zeros at either end do not count.
    return rf"^[+-]?(0*{_counted(whole)}\.?|(0*{_counted(whole)})?\.{after}0*)$"


def _counted(most: int | None) -> str:
    """One digit or more, at most so many."""
    if most == 0:
        return "0+"
    return "[0-9]+" if most is None or most > _COUNTED else f"[0-9]{{1,{most}}}"

"""Which forms are accepted, what of an output does not fit, and that no check is ever expensive.

It must not test what a refusal leaves of a task.
"""

import json
import time
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from durable_tasks.errors import InvalidInput, InvalidOutput, PayloadTooLarge
from durable_tasks.form_models import form_of
from durable_tasks.forms import check_form, check_output
from durable_tasks.store.rows import PAYLOAD_LIMIT

APPROVAL = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "amount": {"$ref": "#/$defs/Amount"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"a/b": {"enum": [1, 2]}}}},
        "mail": {"type": "string", "format": "email"},
    },
    "required": ["approved"],
    "additionalProperties": False,
    "$defs": {"Amount": {"type": "number", "minimum": 1}},
}


def misfits(form: Any, output: Any) -> dict[str, str]:
    with pytest.raises(InvalidOutput) as refused:
        check_output(json.dumps(form), None if output is None else json.dumps(output))
    return {one["pointer"]: one["message"] for one in refused.value.errors}


def test_each_misfit_is_named_by_its_place() -> None:
    wrong = {"amount": 0, "lines": [{"a/b": 1}, {"a/b": 3}], "mail": "nobody", "more": 1}
    found = misfits(APPROVAL, wrong)
    assert found.keys() == {"/approved", "/amount", "/lines/1/a~1b", "/mail", ""}
    assert found["/approved"] == "is required"
    assert "minimum of 1" in found["/amount"]
    assert "more" in found[""]


def test_what_fits_is_taken() -> None:
    check_form(json.dumps(APPROVAL))
    check_output(json.dumps(APPROVAL), '{"approved": true, "amount": 1, "lines": [{"a/b": 2}], "mail": "a@b.org"}')
    check_output("{}", None)


def test_no_output_is_null() -> None:
    assert misfits(APPROVAL, None).keys() == {""}


def test_a_refusal_does_not_repeat_what_was_written() -> None:
    assert "secret" not in str(misfits({"properties": {"a": {"type": "integer"}}}, {"a": "secret"}))


def test_of_what_is_large_a_refusal_says_only_that_it_does_not_fit() -> None:
    assert misfits({"items": {"type": "string"}}, list(range(100_000))).keys() == {""}


def test_a_refusal_names_a_hundred_misfits_at_most() -> None:
    assert len(misfits({"items": {"type": "string"}}, list(range(200)))) == 100


def test_a_refusal_is_short_however_long_the_names_in_an_output_are() -> None:
    with pytest.raises(InvalidOutput) as refused:
        check_output('{"additionalProperties": {"items": {"type": "string"}}}', json.dumps({"a" * 900_000: [1] * 100}))
    assert len(refused.value.message) < 1000
    assert len(json.dumps(refused.value.errors)) < 100_000


TOWER: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(12)}
CHAIN: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1500)}
BAD: dict[str, tuple[Any, str]] = {
    "no object": ([], "an object"),
    "a boolean": (True, "an object"),
    "an unknown type": ({"type": "objekt"}, "/type"),
    "properties that are none": ({"properties": []}, "/properties"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-07/schema#"}, "draft/2020-12"),
    "a reference elsewhere": ({"$ref": "https://example.com/schema"}, "$ref is #/$defs/NAME"),
    "a reference to a file": ({"items": {"$ref": "file:///etc/passwd"}}, "$ref is #/$defs/NAME"),
    "a reference to nothing": ({"$ref": "#/$defs/no"}, "$ref is #/$defs/NAME"),
    "a reference to itself": ({"$ref": "#"}, "$ref is #/$defs/NAME"),
    "recursion": ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "refers to itself"),
    "mutual recursion": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}, "refers to itself"),
    "another base": ({"properties": {"a": {"$id": "https://example.com/"}}}, "$id cannot be used"),
    "a dynamic reference": ({"$dynamicRef": "#a"}, "$dynamicRef cannot be used"),
    "what asks again at every level": ({"allOf": [{"unevaluatedProperties": False}]}, "unevaluatedProperties cannot"),
    "too many subschemas": ({"allOf": [{}] * 1000}, "at most 1000 subschemas"),
    "too many by reference": ({"$ref": "#/$defs/d0", "$defs": {**TOWER, "d12": {}}}, "at most 1000 subschemas"),
    "too deep by reference": ({"$ref": "#/$defs/d0", "$defs": {**CHAIN, "d1500": {}}}, "deep"),
    "too large": ({"description": "x" * 65536}, "at most 65536 bytes"),
    "look-around": ({"pattern": "(?=a)"}, "without look-around"),
    "a back-reference": ({"pattern": r"(a)\1"}, "without look-around"),
    "a huge expression": ({"pattern": "((a{99}){99}){99}"}, "short"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_form_is_refused(name: str) -> None:
    form, said = BAD[name]
    with pytest.raises(InvalidInput) as refused:
        check_form(json.dumps(form))
    assert said in refused.value.message, refused.value.message
    assert len(refused.value.message) < 1000


class Invoice(BaseModel):
    total: Decimal
    price: Annotated[Decimal, Field(gt=0, le=500, max_digits=5, decimal_places=2)]
    discount: Annotated[Decimal, Field(max_digits=2, decimal_places=2)] = Decimal(0)
    tip: Decimal | None = None


def test_a_decimal_of_a_model_is_a_number_or_its_digits() -> None:
    form = form_of(Invoice)
    check_form(json.dumps(form))
    for total in (1, 0.5, "12345678901234567890.01", "-3", ".5", "1."):
        for price in (499.99, "0100.50", "1.500"):
            output = {"total": total, "price": price, "discount": "0.25", "tip": None}
            check_output(json.dumps(form), json.dumps(output))
            assert Invoice.model_validate(output)
    wrong = {"total": "much", "price": 501, "discount": "1.5", "tip": "."}
    assert misfits(form, wrong).keys() == {"/total", "/price", "/discount", "/tip"}
    assert misfits(form, {"total": "", "price": "1.005"}).keys() == {"/total", "/price"}


EXPENSIVE: dict[str, tuple[Any, Any]] = {
    "many subschemas for each of many values": ({"items": {"allOf": [{"minimum": -n} for n in range(900)]}}, [0]),
    "a large choice": ({"items": {"enum": [f"{n:04}" for n in range(5000)]}}, ["4999"]),
    "an expression with a thousand states": ({"items": {"pattern": "1[01]{200}x"}}, ["10110111001"]),
    "multiples of a fraction": ({"items": {"multipleOf": 0.0000001}}, [1e300]),
    "many expressions": ({"items": {"allOf": [{"pattern": f"1[01]*1[01]*x{n}"} for n in range(100)]}}, ["1011"]),
    "an expression that backtracks elsewhere": ({"items": {"pattern": "^(a|a)*$"}}, ["aaaaaaaaab"]),
    "short lists of what is unique": ({"items": {"allOf": [{"uniqueItems": True}] * 300}}, [[*range(15)]]),
    "names in other alphabets": ({"items": {"allOf": [{"format": "idn-hostname"}] * 300}}, ["äb.c"]),
    "one number or another": ({"items": {"oneOf": [{"const": number} for number in range(300)]}}, [1]),
    "nested choices": (
        {"$ref": "#/$defs/d0", "$defs": {**{f"d{n}": {"anyOf": [{"items": {"$ref": f"#/$defs/d{n + 1}"}}] * 2}
         for n in range(7)}, "d7": {"type": "string"}}}, [[[[[[0]]]]]]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPENSIVE)
def test_no_output_is_expensive_to_check(name: str) -> None:
    """The largest output that is checked at all takes less than a few seconds: everything else waits for it."""
    form, item = EXPENSIVE[name]
    text = json.dumps(form)
    check_form(text)
    with pytest.raises(PayloadTooLarge) as refused:
        check_output(text, json.dumps("x" * 2**23))
    limit = min(refused.value.limit, PAYLOAD_LIMIT)
    output = json.dumps(item * max(1, limit // (len(json.dumps(item)) + 2)))
    began = time.process_time()
    with suppress(InvalidOutput):
        check_output(text, output)
    assert time.process_time() - began < 3, f"{len(output)} bytes"

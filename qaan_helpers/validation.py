"""Tables of options checked by pydantic models, with error messages in one line."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound="BaseModel")


def validated(model: type[ModelT], data: object, where: str = "") -> ModelT:
    """Validate a table of options and return it as an instance of `model`.

    Args:
        model: A pydantic model. The description of a field says which values it allows.
        data: The table, a dictionary of names and values. NumPy numbers count as Python numbers.
        where: Path of the table, such as "arms.uniform", which precedes the names of fields in messages.

    Returns:
        The instance.

    Raises:
        ValueError: If `data` is not a table, has an unknown name, lacks one, or has a value that is not allowed.
    """
    from pydantic import ValidationError

    if not isinstance(data, dict):
        raise ValueError(f"{where} must be a table of {', '.join(model.model_fields)}; got {data!r}")
    data = {name: value.item() if isinstance(value, np.generic) else value for name, value in data.items()}
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ValueError(validation_message(error, model, where)) from None


def validation_message(error: "ValidationError", model: "type[BaseModel]", where: str = "") -> str:
    """Turn pydantic's error into one line: the path of the field, what is allowed, and the value given.

    Args:
        error: What pydantic raised. Its first error counts, but an unknown name goes before all others.
        model: The pydantic model that refused its input.
        where: Path of the table, as in `validated`.

    Returns:
        The message.
    """
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    cause = str(first["ctx"]["error"]) if first["type"] == "value_error" else ""
    if not first["loc"]:  # a rule about several fields together
        return f"{where}: {cause}" if where else cause
    name, *inner = first["loc"]
    path = f"{where}.{name}" if where else str(name)
    if first["type"] == "extra_forbidden":
        return f"{path} is not a known name; choose from {', '.join(model.model_fields)}"
    rule = model.model_fields[str(name)].description
    allowed = cause or (f"must be {rule}" if rule else first["msg"].replace("Input should", "must"))
    if first["type"] == "missing":
        return f"{path} is missing; it {allowed}"
    value = " ".join(repr(first["input"]).split())
    place = f" at {name}{''.join(f'[{key!r}]' for key in inner)}" if inner else ""
    return f"{path} {allowed}; got {value if len(value) <= 200 else value[:200] + '…'}{place}"

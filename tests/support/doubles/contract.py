"""Classes that may only have, and only take, what a real class of a pybind11 module has and takes."""

import functools
import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Argument:
    name: str
    type: str
    optional: bool


@dataclass
class Recorder:
    """What was called, in order: ("Class.method", {argument: value})."""

    calls: list[tuple[str, dict]] = field(default_factory=list)

    def names(self):
        return [name for name, _ in self.calls]

    def of(self, name):
        return [arguments for called, arguments in self.calls if called == name]


def signatures(real_class, method):
    """The overloads of a method, from the docstring that pybind11 writes: a list of lists of `Argument`."""
    text = getattr(real_class, method).__doc__ or ""
    found = re.findall(rf"^(?:\d+\. )?{method}\((.*)\) -> ", text, re.MULTILINE)
    overloads = []
    for line in found:
        parts = re.split(r", (?=\w+: )", line) if line else []
        pairs = [re.fullmatch(r"(\w+): ([^=]+?)( = .*)?", part) for part in parts]
        overloads.append([Argument(m[1], m[2], m[3] is not None) for m in pairs if m and m[1] != "self"])
    return overloads


def bind(real_class, method, arguments, named):
    """Names -> values of a call, by the first overload that takes it.

    Raises TypeError, as pybind11 does, where none does.
    """
    overloads = signatures(real_class, method)
    for overload in overloads:
        names = [argument.name for argument in overload]
        if len(arguments) > len(names) or not set(named) <= set(names[len(arguments) :]):
            continue
        bound = {**dict(zip(names, arguments, strict=False)), **named}
        missing = [a.name for a in overload if not a.optional and a.name not in bound]
        if not missing and all(_is_a(bound[a.name], a.type) for a in overload if a.name in bound):
            return bound
    raise TypeError(f"{real_class.__name__}.{method}({arguments}, {named}): the real one takes {overloads}")


def _is_a(value, type_name):
    if type_name == "typing.SupportsInt":
        return hasattr(value, "__int__") and not isinstance(value, str)
    if type_name in ("str", "bool", "tuple", "list"):
        return isinstance(value, {"str": str, "bool": bool, "tuple": tuple, "list": list}[type_name])
    if type_name.endswith("Buffer"):
        return isinstance(value, bytes | bytearray | memoryview)
    if type_name.endswith(".Dims"):
        return isinstance(value, tuple | list)
    if type_name.startswith(("tensorrt_bindings.", "tensorrt_rtx_bindings.", "nvinfer1::")):
        wanted = re.split(r"[.:]", type_name)[-1]
        return any(base.__name__ == wanted for base in type(value).__mro__)
    return True


def held_to(real_module, recorder):
    """Class decorator: hold a simulated class to the real class of its name, and record its calls.

    A method or property that the real class does not have is an error at once; a call with other arguments, or the
    setting of a property that cannot be set, when it happens.
    """

    def decorate(simulated):
        real = getattr(real_module, simulated.__name__)  # AttributeError: no such class
        for name, value in list(vars(simulated).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if not hasattr(real, name):
                raise AttributeError(f"{real.__name__} has no {name}")
            if isinstance(value, property):
                if not isinstance(getattr(real, name), property):
                    raise AttributeError(f"{real.__name__}.{name} is not a property")
            elif callable(value):
                setattr(simulated, name, _recorded(real, name, value))

        def set_attribute(self, name, value):
            if not name.startswith("_"):
                known = getattr(real, name, None)
                if not isinstance(known, property) or known.fset is None:
                    raise AttributeError(f"{real.__name__}.{name} cannot be set")
                recorder.calls.append((f"{real.__name__}.{name}=", {"value": value}))
            object.__setattr__(self, name, value)

        simulated.__setattr__ = set_attribute
        return simulated

    def _recorded(real, name, function):
        @functools.wraps(function)
        def call(self, *arguments, **named):
            bound = bind(real, name, arguments, named)
            recorder.calls.append((f"{real.__name__}.{name}", bound))
            return function(self, **bound)

        return call

    return decorate

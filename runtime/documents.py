"""JSON documents from untrusted writers: parsed, and checked against a table of rules.

`fastbert.runtime.manifest_rules` is such a table. A rule reads a value: it returns the value as the program keeps it,
or raises `Unfit`, which collects the value's path in the document as it propagates.
"""

import codecs
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

_Place = TypeVar("_Place", str, int)
MISSING = object()  # a field that is absent
_DEEPEST = 64  # nested lists and objects: json.dumps is recursive
_SHOWN = 80  # characters of a value in a message
_PLAIN_KEY = re.compile(r"[\w-]+")
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one; UTF-8, and so a terminal, cannot


class Unfit(Exception):
    """A value does not follow its rule.

    :param found: the value.
    :param expected: what it must be, in words.
    :param places: keys and numbers that lead to it, outermost first.
    """

    def __init__(self, found: Any, expected: str, *places: str | int) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected
        self.places = list(places)

    def __str__(self) -> str:
        found = "missing" if self.found is MISSING else shown(self.found)
        return f"{_path(self.places)} is {found}; expected {self.expected}"


def shown(value: Any) -> str:
    """Return a value as JSON, shortened in the middle if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    half = (_SHOWN - 5) // 2
    short = text if len(text) <= _SHOWN else f"{text[:half]} ... {text[-half:]}"
    return short.encode(errors="backslashreplace").decode()


def _path(places: list[str | int]) -> str:
    """Return a field's path, such as ``variants.fp32.stages[2]``."""
    named = (
        f".{place}" if isinstance(place, str) and _PLAIN_KEY.fullmatch(place) else f"[{shown(place)}]"
        for place in places
    )
    return "".join(named).removeprefix(".") or "the document"


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8.

    :raises ValueError: the content is not a JSON object; the message says why.
    :raises Unfit: a field is repeated in its object, or has an unpaired surrogate.
    """
    if not content:
        raise ValueError("it is empty")
    if content.startswith(codecs.BOM_UTF8):
        raise ValueError("it starts with a byte order mark, which JSON does not allow")
    repeated: list[tuple[dict[str, Any], str]] = []

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.append((made, next(key for key in keys if keys.count(key) > 1)))
        return made

    too_deep = f"it nests more than {_DEEPEST} lists and objects"
    try:
        text = content.decode()
        document = json.loads(text, object_pairs_hook=read_object)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} (0x{content[error.start]:02x}) is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    except ValueError as error:
        raise ValueError(f"it holds a number of more than {sys.get_int_max_str_digits()} digits") from error
    except RecursionError as error:
        raise ValueError(too_deep) from error
    if _depth_exceeds(_DEEPEST, document):
        raise ValueError(too_deep)
    if not isinstance(document, dict):
        raise ValueError(f"it is {shown(document)}, not an object")
    if repeated or "\\u" in text:
        for places, value in _walk(document):
            _check_once(places, value, repeated)
            _check_characters(places, value)
    return document


def _depth_exceeds(limit: int, document: Any) -> bool:
    level: list[Any] = [[document]]
    for _ in range(limit + 1):
        level = [
            item
            for outer in level
            for item in (outer.values() if type(outer) is dict else outer)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def _walk(value: Any, *places: str | int) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every value of a document with its path, outer values first."""
    yield places, value
    if isinstance(value, dict | list):
        for place, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(item, *places, place)


def _check_once(places: tuple[str | int, ...], value: Any, repeated: list[tuple[dict[str, Any], str]]) -> None:
    for owner, key in repeated:
        if value is owner:
            raise Unfit(owner[key], "a field only once in its object; this one is repeated", *places, key)


def _check_characters(places: tuple[str | int, ...], value: Any) -> None:
    for text in (value, *places[-1:]):
        if isinstance(text, str) and _SURROGATE.search(text):
            raise Unfit(value, "valid Unicode; this text has an unpaired surrogate", *places)


class Rule:
    """What a value must be.

    :param expected: in words.
    """

    expected: str

    def read(self, value: Any) -> Any:
        """Return the value as the program keeps it.

        :raises Unfit: it does not follow the rule.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Fits(Rule):
    """A single value.

    :param fits: whether it is as expected.
    """

    expected: str
    fits: Callable[[Any], bool]

    def read(self, value: Any) -> Any:
        """Return the value itself."""
        if not self.fits(value):
            raise Unfit(value, self.expected)
        return value


@dataclass(frozen=True)
class ListOf(Rule):
    """A list; read as a tuple.

    :param least: fewest items.
    :param most: most items; None: any number.
    :param distinct: whether no two may be equal.
    """

    expected: str
    items: Rule
    least: int = 0
    most: int | None = None
    distinct: bool = False

    def read(self, value: Any) -> tuple[Any, ...]:
        """Return the items."""
        if type(value) is not list or len(value) < self.least or (self.most is not None and len(value) > self.most):
            raise Unfit(value, self.expected)
        items = tuple(_read_each(enumerate(value), self.items).values())
        if self.distinct and len(set(items)) < len(items):
            raise Unfit(value, self.expected)
        return items


@dataclass(frozen=True)
class MappingOf(Rule):
    """An object with arbitrary keys.

    :param keys: the rule of each key.
    :param least: fewest keys.
    """

    expected: str
    keys: Rule
    values: Rule
    least: int = 0

    def read(self, value: Any) -> dict[str, Any]:
        """Return the values as read."""
        if type(value) is not dict or len(value) < self.least:
            raise Unfit(value, self.expected)
        for key in value:
            try:
                self.keys.read(key)
            except Unfit as unfit:
                raise Unfit(value[key], f"another key: {shown(key)} is not {unfit.expected}", key) from None
        return _read_each(value.items(), self.values)


class OptionalField(Rule):
    """A field of a `Record` that may be absent.

    :param default: its value when absent.
    :param null: whether null counts as absent.
    """

    def __init__(self, rule: Rule, default: Any, *, null: bool = False) -> None:
        self.expected = rule.expected
        self._rule = rule
        self._default = default
        self._null = null

    def read(self, value: Any) -> Any:
        """Return the value as read, or the default."""
        return self._default if value is MISSING or (value is None and self._null) else self._rule.read(value)


@dataclass(frozen=True)
class Record(Rule):
    """An object with known fields, and possibly others.

    :param fields: name -> rule.
    """

    expected: str
    fields: Mapping[str, Rule]

    def read(self, value: Any) -> dict[str, Any]:
        """Return the known fields, with the defaults of absent ones."""
        if type(value) is not dict:
            raise Unfit(value, self.expected)
        done = {}
        try:
            for name, rule in self.fields.items():
                done[name] = rule.read(value.get(name, MISSING))
        except Unfit as unfit:
            unfit.places.insert(0, name)
            raise
        return done


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a finite number that a float can hold, which true is not."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def integer(low: int, high: int) -> Rule:
    """Return the rule of a whole number, which 1.0 and true are not."""
    return Fits(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float) -> Rule:
    """Return the rule of a number, which true and NaN are not."""
    return Fits(f"a number from {low:g} to {high:g}", lambda value: is_number(value) and low <= value <= high)


def one_of(*values: str) -> Rule:
    """Return the rule of a string that is one of these."""
    return Fits(" or ".join(map(shown, values)), lambda value: type(value) is str and value in values)


flag = Fits("true or false", lambda value: type(value) is bool)


def _read_each(items: Iterable[tuple[_Place, Any]], rule: Rule) -> dict[_Place, Any]:
    """Read the items of a list or an object: (place, value) pairs -> place: value as read."""
    read, done = rule.read, {}
    try:
        for place, value in items:
            done[place] = read(value)
    except Unfit as unfit:
        unfit.places.insert(0, place)
        raise
    return done

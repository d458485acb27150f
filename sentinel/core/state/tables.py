"""Rows by key, changed by one fold at a time: all that it put stays, or all of it is put back."""

from collections.abc import Hashable, Mapping
from itertools import count, repeat
from typing import Any, Generic, TypeVar, cast

from msgspec import Struct

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_put, _drop = dict.__setitem__, dict.__delitem__


class Change(Struct, frozen=True, gc=False):
    """One change of a table; thousands of one fold are nothing that the garbage collector has to look at."""

    table: "Table[Any, Any]"
    key: Any
    before: Any
    """The row that was there before; None for no row."""


class Fold:
    """What a fold under way has put another row in the place of; while none is, changes are for good."""

    __slots__ = ("_dropped", "changes", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.changes: list[Change] = []
        """In their order, a row each time that it changed."""
        self._dropped: list[tuple[Table[Any, Any], Any, int]] = []

    def begin(self) -> None:
        """From here on all can be put back, until `commit`."""
        self.is_open = True

    def commit(self) -> None:
        """Let all that was changed be for good."""
        self.is_open = False
        self.changes.clear()
        self._dropped.clear()

    def abandon(self) -> None:
        """Put all back as it was, each row in its place among the others."""
        self.is_open = False
        for each in reversed(self.changes):
            if each.before is None:
                each.table.drop(each.key)
            else:
                each.table.put(each.key, each.before)
        for table, key, place in reversed(self._dropped):
            if key in table:
                table.places[key] = place
        for table in {id(table): table for table, _, _ in self._dropped}.values():
            table.reorder()
        self.commit()

    def drops(self, table: "Table[Any, Any]", key: Any, place: int) -> None:
        """Take note where a row stood that is dropped, if it may be put back."""
        if self.is_open:
            self._dropped.append((table, key, place))


class Table(dict[K, V], Generic[K, V]):
    """Rows in the order in which their keys came; read as any dict is, changed by `put` and `drop` alone.

    A row is a frozen value: to change one is to put another in its place. So a copy of the table is a copy
    of its pointers.
    """

    __slots__ = ("_fold", "_next", "kind", "places")
    has_order = True
    """Whether it matters in which order its rows stand."""

    def __init__(self, fold: Fold, rows: Mapping[K, V] | None = None, kind: str = "") -> None:
        super().__init__(rows or {})
        self._fold, self.kind = fold, kind
        self._next = count()
        self.places: dict[K, int] = dict(zip(self, self._next, strict=False)) if self.has_order else {}
        """Which row came after which, where that matters."""

    def put(self, key: K, row: V) -> V:
        """Put a row in its place; gives it back."""
        before = self.get(key)
        if self._fold.is_open:
            self._fold.changes.append(Change(self, key, before))
        if before is None and self.has_order:
            self.places[key] = next(self._next)
        _put(self, key, row)
        return row

    def put_all(self, rows: Mapping[K, V]) -> None:
        """Put many rows, each in its place."""
        if self._fold.is_open:
            self._fold.changes += map(Change, repeat(self), rows, map(self.get, rows))
        if self.has_order:
            new = [key for key in rows if key not in self]
            self.places |= zip(new, self._next, strict=False)
        dict.update(self, rows)

    def drop(self, key: K) -> None:
        """Forget a row; one that is not there is no matter."""
        if key not in self:
            return
        fold = self._fold
        if fold.is_open:
            fold.changes.append(Change(self, key, self[key]))
        if self.has_order:
            fold.drops(self, key, self.places.pop(key))
        _drop(self, key)

    def reorder(self) -> None:
        """Let rows stand in their places again."""
        rows = {key: self[key] for key in sorted(self, key=self.places.__getitem__)}
        dict.clear(self)
        dict.update(self, rows)

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("rows are changed by `put` and `drop`, which a fold can take back")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = cast(Any, _refuse)


class Index(Table[K, V], Generic[K, V]):
    """What is found again from the rows, in whatever order."""

    __slots__ = ()
    has_order = False


class Marks(Index[K, bool], Generic[K]):
    """Keys that have something in common."""

    __slots__ = ()

    def note(self, key: K, holds: bool) -> None:
        """Mark a key, or mark it no more."""
        if holds != (key in self):
            self.put(key, True) if holds else self.drop(key)

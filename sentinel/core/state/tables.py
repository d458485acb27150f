"""Rows by key, changed by one fold at a time: all that it put stays, or all of it is put back."""

from collections.abc import Hashable, Iterable, Mapping
from itertools import repeat
from typing import Any, Generic, TypeAlias, TypeVar, cast

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_put, _drop = dict.__setitem__, dict.__delitem__


class Fold:
    """What a fold under way has put another row in the place of; while none is, changes are for good."""

    __slots__ = ("_orders", "changes", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.changes: list[Change] = []
        """In their order, a row each time that it changed."""
        self._orders: dict[int, tuple[Table[Any, Any], list[Any]]] = {}

    def begin(self) -> None:
        """From here on all can be put back, until `commit`."""
        self.is_open = True

    def commit(self) -> None:
        """Let all that was changed be for good."""
        self.is_open = False
        self.changes.clear()
        self._orders.clear()

    def abandon(self) -> None:
        """Put all back as it was, each row in its place among the others."""
        self.is_open = False
        for table, key, before in reversed(self.changes):
            if before is None:
                table.drop(key)
            else:
                table.put(key, before)
        for table, keys in self._orders.values():
            table.reorder(keys)
        self.commit()

    def drops_from(self, table: "Table[Any, Any]") -> None:
        """Before a table's first drop take note where its rows stand."""
        if id(table) not in self._orders:
            self._orders[id(table)] = table, list(table)


class Table(dict[K, V], Generic[K, V]):
    """Rows in the order in which their keys came; read as any dict is, changed by `put` and `drop` alone.

    A row is a frozen value: to change one is to put another in its place. So a copy of the table is a copy
    of its pointers.
    """

    __slots__ = ("_fold", "kind")
    has_order = True
    """Whether it matters in which order its rows stand."""

    def __init__(self, fold: Fold, rows: Mapping[K, V] | None = None, kind: str = "") -> None:
        super().__init__(rows or {})
        self._fold, self.kind = fold, kind

    def put(self, key: K, row: V) -> V:
        """Put a row in its place; gives it back."""
        fold = self._fold
        if fold.is_open:
            fold.changes.append((self, key, self.get(key)))
        _put(self, key, row)
        return row

    def put_all(self, rows: Mapping[K, V]) -> None:
        """Put many rows, each in its place."""
        if self._fold.is_open:
            self._fold.changes += zip(repeat(self), rows, map(self.get, rows), strict=False)
        dict.update(self, rows)

    def drop(self, key: K) -> None:
        """Forget a row; one that is not there is no matter."""
        if key not in self:
            return
        fold = self._fold
        if fold.is_open:
            if self.has_order:
                fold.drops_from(self)
            fold.changes.append((self, key, self[key]))
        _drop(self, key)

    def reorder(self, keys: Iterable[K]) -> None:
        """Let rows stand in the order of these keys, which are all and maybe some that are gone."""
        rows = {key: self[key] for key in keys if key in self}
        dict.clear(self)
        dict.update(self, rows)

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("rows are changed by `put` and `drop`, which a fold can take back")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = cast(Any, _refuse)


Change: TypeAlias = tuple[Table[Any, Any], Any, Any]
"""In which table, under which key, and the row that was there before; None for no row."""


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

"""Rows by key, changed by one fold at a time: all that it put is there at once, or nothing is."""

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Final, Generic, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class _Dropped:
    """Stands in a draft for a row that the fold has dropped."""


_DROPPED: Final = _Dropped()


class Fold:
    """What a fold under way has changed; while none is, changes are the tables' own at once."""

    __slots__ = ("_touched", "changes", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self.changes = 0
        """How many there were in this fold: as long as it is the same number, nothing has changed."""
        self._touched: list[Table[Any, Any]] = []

    def drafted(self, table: "Table[Any, Any]") -> dict[Any, Any]:
        """Take note of a table's first change, and give room for it."""
        self._touched.append(table)
        return {}

    def begin(self) -> None:
        """From here on nothing is committed until `commit`."""
        self.is_open, self.changes = True, 0

    def commit(self) -> None:
        """Make all that was changed the tables' own."""
        for table in self._touched:
            table.commit()
        self._close()

    def abandon(self) -> None:
        """Forget all that was changed."""
        for table in self._touched:
            table.abandon()
        self._close()

    def _close(self) -> None:
        self._touched.clear()
        self.is_open = False


class Table(Mapping[K, V], Generic[K, V]):
    """Committed rows, and over them those of the fold under way; both in the order in which keys came.

    A row is a frozen value: to change one is to put another in its place. What was committed is never
    touched, so a copy of the table is a copy of its pointers.
    """

    __slots__ = ("_draft", "_fold", "_rows")

    def __init__(self, fold: Fold, rows: Mapping[K, V] | None = None) -> None:
        self._fold = fold
        self._rows: dict[K, V] = dict(rows or {})
        self._draft: dict[K, V | _Dropped] | None = None

    def __getitem__(self, key: K) -> V:
        """Give a row as the fold under way has it."""
        if self._draft and (row := self._draft.get(key)) is not None:
            if row is _DROPPED:
                raise KeyError(key)
            return row  # type: ignore[return-value]
        return self._rows[key]

    @overload
    def get(self, key: K, /) -> V | None: ...

    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...

    def get(self, key: K, /, default: V | T | None = None) -> V | T | None:
        """Give a row, or the default for none."""
        if self._draft and (row := self._draft.get(key)) is not None:
            return default if row is _DROPPED else row  # type: ignore[return-value]
        return self._rows.get(key, default)

    def __contains__(self, key: object) -> bool:
        if self._draft and (row := self._draft.get(key)) is not None:  # type: ignore[arg-type]
            return row is not _DROPPED
        return key in self._rows

    def __iter__(self) -> Iterator[K]:
        return iter(self._merged()) if self._draft else iter(self._rows)

    def __len__(self) -> int:
        if not self._draft:
            return len(self._rows)
        dropped = sum(row is _DROPPED for row in self._draft.values())
        return len(self._rows) - dropped + sum(key not in self._rows for key in self._draft)

    def values(self) -> ValuesView[V]:
        """Give all rows."""
        return (self._merged() if self._draft else self._rows).values()

    def items(self) -> ItemsView[K, V]:
        """Give all keys with their rows."""
        return (self._merged() if self._draft else self._rows).items()

    def _merged(self) -> dict[K, V]:
        assert self._draft is not None
        merged = {**self._rows, **self._draft}
        if any(row is _DROPPED for row in self._draft.values()):
            return {key: cast(V, row) for key, row in merged.items() if row is not _DROPPED}
        return cast(dict[K, V], merged)

    @property
    def is_touched(self) -> bool:
        """Whether the fold under way has put a row, or dropped one."""
        return bool(self._draft)

    def changes(self) -> Sequence[tuple[K, V | None, V | None]]:
        """Give what the fold under way has put: key, committed row, new row; None for no row."""
        if not self._draft:
            return ()
        rows, draft = self._rows, cast(dict[K, V], self._draft)
        return [(key, rows.get(key), None if row is _DROPPED else row) for key, row in draft.items()]

    def touched(self) -> Sequence[V]:
        """Give the rows that the fold under way has put, and those that it has dropped as they were."""
        if not self._draft:
            return ()
        rows, draft = self._rows, cast(dict[K, V], self._draft)
        return [rows[key] if row is _DROPPED else row for key, row in draft.items()]

    def copy(self) -> dict[K, V]:
        """Give all rows as they are now."""
        return dict(self._merged() if self._draft else self._rows)

    def put(self, key: K, row: V) -> V:
        """Put a row in its place; gives it back."""
        fold = self._fold
        if not fold.is_open:
            self._rows[key] = row
            return row
        if self._draft is None:
            self._draft = fold.drafted(self)
        fold.changes += 1
        self._draft[key] = row
        return row

    def put_all(self, rows: Mapping[K, V]) -> None:
        """Put many rows, each in its place."""
        fold = self._fold
        if not fold.is_open:
            self._rows.update(rows)
            return
        if self._draft is None:
            self._draft = fold.drafted(self)
        fold.changes += len(rows)
        self._draft.update(rows)

    def drop(self, key: K) -> None:
        """Forget a row; one that is not there is no matter."""
        if key in self._rows:
            self.put(key, cast(V, _DROPPED)) if self._fold.is_open else self._rows.pop(key)
        elif self._draft:
            self._draft.pop(key, None)

    def commit(self) -> None:
        """Make what the fold put the table's own."""
        rows, draft = self._rows, cast(dict[K, V], self._draft or {})
        for key, row in draft.items():
            if row is _DROPPED:
                del rows[key]
            else:
                rows[key] = row
        self._draft = None

    def abandon(self) -> None:
        """Forget what the fold put."""
        self._draft = None


class Marks(Table[K, bool], Generic[K]):
    """Keys that have something in common: an index, found again from the rows."""

    __slots__ = ()

    def note(self, key: K, holds: bool) -> None:
        """Mark a key, or mark it no more."""
        if holds != (key in self):
            self.put(key, True) if holds else self.drop(key)

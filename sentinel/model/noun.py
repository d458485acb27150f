"""What facts, actions, events, orders and messages have in common: their encoded form says what it is."""

from msgspec import Struct


class Noun(Struct, frozen=True, gc=False, tag=True, tag_field="is"):
    """A frozen value that stands in a union with others.

    `is` holds the class's name: a word that Python keeps for itself, so no field can ever collide with it.
    """

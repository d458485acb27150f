"""What may be searched for, so that one question costs no more than another."""

from starlette.exceptions import HTTPException

CHARS, WORDS = 200, 16


def bounded(query: str) -> str:
    """Give the question back. Raises HTTPException with 400 for one that is too long."""
    if len(query) > CHARS or len(query.split()) > WORDS:
        raise HTTPException(400, f"a search may have {CHARS} characters and {WORDS} words")
    return query

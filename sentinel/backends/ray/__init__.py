"""Ray as a back end: all that imports Ray or speaks to it."""

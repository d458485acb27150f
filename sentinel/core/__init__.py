"""The decisions, pure: facts and time in, actions with reasons out."""

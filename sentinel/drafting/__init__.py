"""Drafts of runbooks: what sets an incident apart from all others, and whom a runbook would rename."""

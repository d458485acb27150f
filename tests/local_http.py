"""Requests to servers of this machine; with a client for each, all certificates would be loaded each time."""

import httpx

LOCAL = httpx.Client(trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0))

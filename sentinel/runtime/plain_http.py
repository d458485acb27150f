"""Plain HTTP to the cluster's own servers, for which no certificates need to be loaded each time."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody."""

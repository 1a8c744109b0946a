"""The address of the client. Nothing is counted or limited here."""

import ipaddress
import re

from flask import request

#: The address of every client whose real address cannot be determined.
UNKNOWN = "unknown"

# What proxies write: RFC 7239, section 6, allows a port, IPv6 in brackets, `unknown` and obfuscated names.
_WITH_PORT = re.compile(r"\[(?P<v6>[^\[\]]+)\](:[0-9]{1,5})?|(?P<v4>[0-9.]+):[0-9]{1,5}")


def client_address() -> str:
    """Return the address that counts as one client, or UNKNOWN.

    For IPv6 it is the /64 network, since every subscriber has a whole one. An IPv4-mapped IPv6 address
    (`::ffff:192.0.2.1`, RFC 4291) counts as the IPv4 address.
    """
    text = (request.remote_addr or "").strip()
    if match := _WITH_PORT.fullmatch(text):
        text = match["v6"] or match["v4"]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # the zone is the proxy's own affair
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))

"""The client's address, as far as it can be told. Nothing is counted or limited here."""

import ipaddress
import re

from flask import request

#: Stands for every client whose address cannot be told.
UNKNOWN = "unknown"

# As proxies write it: RFC 7239, section 6, has a port behind it, IPv6 in brackets, `unknown`, and made-up names.
_WITH_PORT = re.compile(r"\[(?P<v6>[^\[\]]+)\](:[0-9]{1,5})?|(?P<v4>[0-9.]+):[0-9]{1,5}")


def client_address() -> str:
    """The address that counts as one client, or UNKNOWN.

    Of IPv6 it is the network of 64 bits, since every subscriber has a whole one. An IPv4 address that is
    written as an IPv6 one (`::ffff:192.0.2.1`, RFC 4291) is the IPv4 address.
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

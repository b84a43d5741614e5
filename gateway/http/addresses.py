"""Addresses of clients: which one a request came from, and the networks that it counts for."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_ENTRY = 100  # characters of an address with a zone and a port

# [address]:port, address:port (with a colon, an IPv6 address needs its brackets) or an address alone.
_ENTRY = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::\d{1,5})?|([^:\[\]]*):\d{1,5}|([^\[\]]*)", re.ASCII)

# The size of a network, and how many times the allowance of the smallest it has. A customer has one IPv4 address,
# or an IPv6 /64 at least and often a /56 or a /48; the larger networks may have many customers.
_SIZES = {4: ((32, 1), (24, 16)), 6: ((64, 1), (56, 4), (48, 16))}


def parse_address(text: str) -> Address | None:
    """The address in an entry of X-Forwarded-For, or None.

    A port (``203.0.113.7:50001``, ``[2001:db8::1]:443``) and a zone (``fe80::1%eth0``) do not matter here. An IPv4
    address that is mapped into IPv6 is the IPv4 address.
    """
    entry = _ENTRY.fullmatch(text.strip())
    if not entry:
        return None
    host = next(group for group in entry.groups() if group is not None)
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def client_address(peer: str, forwarded_for: list[str], trusted_proxies: int) -> str:
    """The address of the client, as the trusted proxies in front report it.

    Each of them appends the address it was called from to X-Forwarded-For, so the entry of the
    outermost one is counted from the right; a client can write anything to the left of it. If that
    entry is missing or is no address, the client counts as the proxy.
    """
    hops = [hop for line in forwarded_for for hop in line.split(",")]
    reported = hops[-trusted_proxies] if 0 < trusted_proxies <= len(hops) else peer
    for text in (reported, peer):
        if len(text) <= MAX_ENTRY and (canonical := _canonical(text)):
            return canonical
    return peer


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return str(parse_address(text) or "")


@lru_cache(maxsize=4096)
def networks(address: str) -> tuple[tuple[str, int], ...]:
    """The networks that an address counts for, smallest first, each with its allowance."""
    found = parse_address(address)
    if not found:
        return ((address, 1),)
    sizes = _SIZES[found.version]
    return tuple((str(ipaddress.ip_network((found, size), strict=False)), share) for size, share in sizes)

"""Addresses of clients: what proxies write, and the networks that an address counts for."""

from __future__ import annotations

import pytest

from gateway.http.addresses import client_address, networks, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("  192.0.2.1\t", "192.0.2.1"),
        ("203.0.113.7:50001", "203.0.113.7"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),  # without brackets, no part of it is a port
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
    ],
)
def test_an_address_is_found_in_each_form_that_proxies_write(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "garbage", "unknown", "localhost:80", "_hidden", ":", ":80", "[", "]", "[]", "[]:80", "[192.0.2.1]:80",
        "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:123456", "192.0.2.1:80:80", "192.0.2.1/24", "192.0.2", "192.0.2.256",
        "192.000.2.1", "192.0.2.1\0", "192.0.2.1 192.0.2.2", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]443",
        "[2001:db8::1]:", "[[2001:db8::1]]:443", "2001:db8::1::2", "1" * 10_000, "\u0661.2.3.4", "%eth0",
    ],
)  # fmt: skip
def test_anything_else_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("lines", "proxies", "client"),
    [
        ([], 0, "10.0.0.1"),
        ([], 1, "10.0.0.1"),
        (["192.0.2.1"], 0, "10.0.0.1"),
        (["192.0.2.1"], 1, "192.0.2.1"),
        (["192.0.2.1"], 2, "10.0.0.1"),
        (["198.51.100.1, 192.0.2.1"], 1, "192.0.2.1"),
        (["198.51.100.1, 192.0.2.1, 10.0.0.2"], 2, "192.0.2.1"),
        (["198.51.100.1", "192.0.2.1"], 1, "192.0.2.1"),
        (["198.51.100.1,192.0.2.1", "10.0.0.2"], 2, "192.0.2.1"),
        (["  192.0.2.1  "], 1, "192.0.2.1"),
        (["garbage"], 1, "10.0.0.1"),
        (["192.0.2.1, garbage"], 1, "10.0.0.1"),
        (["garbage, 192.0.2.1"], 1, "192.0.2.1"),
        (["192.0.2.1,"], 1, "10.0.0.1"),
        ([""], 1, "10.0.0.1"),
        (["192.0.2.1:1234"], 1, "192.0.2.1"),
        (["[2001:db8::1]:443"], 1, "2001:db8::1"),
        (["198.51.100.1, [2001:db8::1]:443, 10.0.0.2:9"], 2, "2001:db8::1"),
        (["192.0.2.1\0"], 1, "10.0.0.1"),
        ([f"fe80::1%{'e' * 92}"], 1, "fe80::1"),
        ([f"fe80::1%{'e' * 93}"], 1, "10.0.0.1"),
    ],
)
def test_the_address_is_the_entry_of_the_outermost_trusted_proxy(lines: list[str], proxies: int, client: str) -> None:
    assert client_address("10.0.0.1", lines, proxies) == client


@pytest.mark.parametrize(("peer", "client"), [("fe80::1%eth0", "fe80::1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("", "")])
def test_a_peer_is_written_as_a_client_is(peer: str, client: str) -> None:
    assert client_address(peer, ["garbage"], 1) == client_address(peer, [], 0) == client


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", ["192.0.2.1/32", "192.0.2.0/24"]),
        ("::ffff:192.0.2.1", ["192.0.2.1/32", "192.0.2.0/24"]),
        ("2001:db8:1:2345::1", ["2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"]),
        ("2001:db8:1:2345:ffff:ffff:ffff:ffff", ["2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"]),
        ("::1", ["::/64", "::/56", "::/48"]),
        ("fe80::1%eth0", ["fe80::/64", "fe80::/56", "fe80::/48"]),
        ("", [""]),
    ],
)
def test_an_address_counts_for_its_networks(address: str, counted: list[str]) -> None:
    assert [network for network, _ in networks(address)] == counted


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_wider_network_is_allowed_more(address: str) -> None:
    shares = [share for _, share in networks(address)]
    assert shares[0] == 1
    assert shares == sorted(set(shares))

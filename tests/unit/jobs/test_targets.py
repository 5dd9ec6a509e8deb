"""Which callback URLs are refused on sight."""

from __future__ import annotations

import ipaddress

import pytest

from jobs.addresses import is_public
from jobs.errors import CallbackRefused
from jobs.targets import parse_callback_url

FORBIDDEN = [
    "0.0.0.0", "10.1.2.3", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254",
    "172.31.0.1", "192.0.0.192", "192.168.1.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1", "2002:a9fe:a9fe::", "2001:0:4136:e378::1", "fe80::1", "fec0::1", "fd00:ec2::254",
    "ff02::1", "2001:db8::1", "3fff::1", "100::1", "5f00::1", "2600:1f00::5efe:7f00:1", "2600:1f00::200:5efe:7f00:1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_special_addresses_are_not_public_in_any_disguise(address):
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(CallbackRefused):
        parse_callback_url(f"https://{host}/hook")


@pytest.mark.parametrize("address", PUBLIC)
def test_ordinary_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "//example.com/x", "ftp://example.com/x", "http://example.com/x", "https://", "https:///x",
        "https://user@example.com/", "https://user:pw@example.com/", "https://example.com@127.0.0.1/",
        "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://0/",
        "https://0x7f.1/", "https://127.0.0.1./", "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "https://example\u3002com/",
        "https://localhost/", "https://LOCALHOST/", "https://a.localhost/", "https://db.internal/", "https://redis/",
        "https://printer.local/", "https://exa mple.com/", "https://example.com\\@127.0.0.1/", "https://example.com/\n",
        "https://exam\tple.com/", "https://[::1%25eth0]/", "https://[::1", "https://example.com:99999/",
        "https://example.com:0/", "https://example.com:x/", "https://%31%32%37.0.0.1/", "https://example.com/#f",
        "https://-x.example.com/", "https://" + "a" * 64 + ".com/", "https://example.com/" + "a" * 2048,
        "https://example..com/", "javascript:alert(1)", "file:///etc/passwd", "https://1.2.3.4.5/",
    ],
)  # fmt: skip
def test_urls_that_are_not_strict_public_https_are_refused(url):
    with pytest.raises(CallbackRefused) as caught:
        parse_callback_url(url)
    assert caught.value.pointer == "/callback/url"


def test_an_ordinary_https_url_is_taken_apart():
    target = parse_callback_url("https://Hooks.Example.com:8443/a?b=c")
    assert (target.host, target.port, target.scheme, target.trusted) == ("hooks.example.com", 8443, "https", False)
    assert parse_callback_url("https://xn--bcher-kva.example/").port == 443


def test_the_operators_list_lets_one_loopback_port_through_and_no_other():
    allow = ("127.0.0.1:9999", "[::1]:9999", "receiver")
    assert parse_callback_url("http://127.0.0.1:9999/hook", allow_hosts=allow).trusted
    assert parse_callback_url("http://[::1]:9999/hook", allow_hosts=allow).trusted
    assert parse_callback_url("http://receiver/hook", allow_hosts=allow).trusted
    for url in (
        "http://127.0.0.1:9998/hook",
        "http://127.0.0.1/hook",
        "http://127.0.0.2:9999/",
        "https://localhost:9999/",
    ):
        with pytest.raises(CallbackRefused):
            parse_callback_url(url, allow_hosts=allow)

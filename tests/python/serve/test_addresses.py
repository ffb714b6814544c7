"""Tricks by which a URL or an address leads into a network."""

from __future__ import annotations

import pytest

from g4v.serve.media.addresses import is_domain, is_open_address, refusal

ALLOWED = frozenset({"media.example.org", "xn--bcher-kva.example"})

GOOD = [
    "https://media.example.org/clip.mp4",
    "https://media.example.org",
    "https://media.example.org:443/a?b=c#d",
    "HTTPS://MEDIA.example.ORG/x",
    "https://xn--bcher-kva.example/",
    "https://media.example.org/a@b:c//d",
]

# URL, and what the refusal says.
BAD_URLS = [
    ("http://media.example.org/", "https://"),
    ("ftp://media.example.org/", "https://"),
    ("file:///etc/passwd", "https://"),
    ("file://media.example.org/etc/passwd", "https://"),
    ("gopher://media.example.org/", "https://"),
    ("jar:https://media.example.org/!/", "https://"),
    ("//media.example.org/", "https://"),
    ("media.example.org/clip.mp4", "https://"),
    ("javascript:alert(1)", "https://"),
    ("https:media.example.org", "https://"),
    ("https:/media.example.org/", "https://"),
    ("https:\\\\media.example.org\\", "characters"),
    ("https:///media.example.org/", "domain name"),
    ("https://media.example.org@127.0.0.1/", "user name"),
    ("https://user:pass@media.example.org/", "user name"),
    ("https://@media.example.org/", "user name"),
    ("https://127.0.0.1\\@media.example.org/", "characters"),
    ("https://media.example.org\\@127.0.0.1/", "characters"),
    ("https://media.example.org:80/", "port"),
    ("https://media.example.org:8443/", "port"),
    ("https://media.example.org:/", "port"),
    ("https://media.example.org:0443x/", "cannot be read"),
    ("https://media.example.org:99999/", "cannot be read"),
    ("https://media.example.org./", "domain name"),
    ("https://media.example.org.evil.example/", "not allowed"),
    ("https://evil-media.example.org/", "not allowed"),
    ("https://sub.media.example.org/", "not allowed"),
    ("https://example.org/", "not allowed"),
    ("https://localhost/", "domain name"),
    ("https://127.0.0.1/", "domain name"),
    ("https://127.1/", "domain name"),
    ("https://2130706433/", "domain name"),
    ("https://0x7f000001/", "domain name"),
    ("https://0177.0.0.1/", "domain name"),
    ("https://0/", "domain name"),
    ("https://[::1]/", "domain name"),
    ("https://[::ffff:127.0.0.1]/", "domain name"),
    ("https://[fe80::1%25eth0]/", "domain name"),
    ("https://[::1/", "cannot be read"),
    ("https://169.254.169.254/latest/meta-data/", "domain name"),
    ("https://metadata.google.internal/", "not allowed"),
    ("https://127.0.0.1.nip.io/", "not allowed"),
    ("https://media.example.org%2f@evil.example/", "user name"),
    ("https://media%2eexample%2eorg/", "domain name"),
    ("https://media.example.org%00.evil.example/", "domain name"),
    ("https://media.example.org#@evil.example/", ""),
    ("https://evil.example#@media.example.org/", "not allowed"),
    ("https://evil.example?@media.example.org/", "not allowed"),
    ("https://media\u3002example\u3002org/", "characters"),
    ("https://\u24dcedia.example.org/", "characters"),
    ("https://b\u00fccher.example/", "characters"),
    ("https://media.example.org\t/", "characters"),
    ("https://media.example.org\n.evil.example/", "characters"),
    ("https://media.example.org /", "characters"),
    (" https://media.example.org/", "characters"),
    ("https://media.example.org/\r\nHost: evil", "characters"),
    ("https://media.example.org/\x00", "characters"),
    ("https://media..example.org/", "domain name"),
    ("https://-media.example.org/", "domain name"),
    ("https://" + "a" * 64 + ".org/", "domain name"),
    ("https://", "domain name"),
    ("", "https://"),
]

CLOSED = [
    "",
    " 8.8.8.8",
    *"""
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.255.255.254
    169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
    198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    192.31.196.1 192.52.193.1 192.175.48.1 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::8.8.8.8
    64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
    2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1
    fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 2620:4f:8000::1 0177.0.0.1 127.1 2130706433
    0x7f.0.0.1 localhost 8.8.8.8/32 8.8.8.8:443
    """.split(),
]

OPEN = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1"]


def test_there_are_enough_tricks() -> None:
    assert len({url for url, _ in BAD_URLS}) >= 60
    assert len(set(CLOSED)) >= 50


@pytest.mark.parametrize("url", GOOD)
def test_an_allowed_url(url: str) -> None:
    assert refusal(url, ALLOWED) == ""


@pytest.mark.parametrize(("url", "reason"), BAD_URLS)
def test_a_refused_url(url: str, reason: str) -> None:
    found = refusal(url, ALLOWED)
    if not reason:  # the fragment is of the allowed host
        assert found == ""
    else:
        assert reason in found, found


@pytest.mark.parametrize("url", GOOD)
def test_nothing_is_allowed_unless_it_is_named(url: str) -> None:
    assert "not allowed" in refusal(url, frozenset())


@pytest.mark.parametrize("address", CLOSED)
def test_an_address_inside(address: str) -> None:
    assert not is_open_address(address)


@pytest.mark.parametrize("address", OPEN)
def test_an_address_of_the_internet(address: str) -> None:
    assert is_open_address(address)


def test_names_of_hosts() -> None:
    for name in ("media.example.org", "a.co", "xn--bcher-kva.example", "1.example"):
        assert is_domain(name), name
    wrong = ("localhost", "127.0.0.1", "1.2", "*.example.org", "a.example.org:443", "https://a.org", "")
    for name in (*wrong, "a..b", "A.example.org", "a.example.org."):
        assert not is_domain(name), name

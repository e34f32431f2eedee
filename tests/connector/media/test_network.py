"""Which addresses are public, which hosts are allowed, and where the guarded network connects to."""

import asyncio
import ipaddress
import socket

import httpcore
import pytest
from support.media_server import MediaServer
from support.small_internet import PUBLIC, SmallInternet

from connector.errors import UsageError
from connector.media.failures import PRIVATE, UNREACHABLE, Unusable
from connector.media.network import AllowedHosts, GuardedNetwork, is_public, resolve


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::10.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("2001:db8::1", "100::1", "4000::1", "::ffff:0:127.0.0.1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"),  # IPv4-mapped
        *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"),  # NAT64
        *("64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::", "64:ff9b:1::93.184.215.14"),  # NAT64 for local use
        *("2002:7f00:1::1", "2002:a00:1::1", "2002:5db8:d70e::1"),  # 6to4
        *("2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),  # Teredo
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "1.1.1.1", "2606:2800:21f:cb07::1", "2a00:1450:4001::8a", f"::ffff:{PUBLIC}", f"64:ff9b::{PUBLIC}"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


# -- allowed hosts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "host", "port", "allowed"),
    [
        ("minio", "minio", 9000, True),
        ("minio:9000", "minio", 9000, True),
        ("minio:9000", "minio", 9001, False),
        ("minio:80", "minio", 80, True),
        ("minio:80", "minio", 443, False),
        ("MinIO.Example", "minio.example", 80, True),
        ("minio.example", "a.minio.example", 80, False),
        ("minio.example", "minio.example.evil.example", 80, False),
        ("*.corp.example", "a.corp.example", 80, True),
        ("*.corp.example", "a.b.corp.example", 443, True),
        ("*.corp.example", "corp.example", 80, False),
        ("*.corp.example", "evilcorp.example", 80, False),
        ("*.corp.example:8080", "a.corp.example", 8080, True),
        ("*.corp.example:8080", "a.corp.example", 80, False),
        ("10.0.0.5", "10.0.0.5", 80, True),
        ("[fd00::5]:80", "fd00::5", 80, True),
        ("münchen.example", "xn--mnchen-3ya.example", 80, True),
    ],
)
def test_hosts_are_allowed_by_name_and_port(pattern: str, host: str, port: int, allowed: bool) -> None:
    assert ((host, port) in AllowedHosts([pattern])) == allowed


@pytest.mark.parametrize(
    "host",
    ["", "*", "*.", "a*.example", "*.*.example", "http://minio", "minio/", "minio:0", "minio:x", "me@minio", "a b/c"],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is no host: write HOST or HOST:PORT"):
        AllowedHosts([host])


# -- connections ------------------------------------------------------------------------------------------------------


def connect(network: GuardedNetwork, host: str, port: int = 80, timeout: float = 5.0) -> None:
    async def once() -> None:
        stream = await network.connect_tcp(host, port, timeout)
        await stream.aclose()

    asyncio.run(once())


def refusal(network: GuardedNetwork, host: str) -> Unusable:
    with pytest.raises(Unusable) as refused:
        connect(network, host)
    return refused.value


def guarded(internet: SmallInternet, *hosts: str) -> GuardedNetwork:
    return GuardedNetwork(AllowedHosts(hosts), internet.resolve, internet)


def test_the_connection_goes_to_the_address_that_was_checked(internet: SmallInternet) -> None:
    connect(guarded(internet), "pictures.example")
    assert internet.lookups == ["pictures.example"]
    assert internet.connections == [(PUBLIC, 80)]


def test_addresses_are_tried_in_turn(internet: SmallInternet) -> None:
    internet.names["pictures.example"] = [["93.184.215.20", "93.184.215.21", PUBLIC]]
    connect(guarded(internet), "pictures.example")
    assert [address for address, _ in internet.connections] == ["93.184.215.20", "93.184.215.21", PUBLIC]


def test_if_no_address_answers_the_connection_fails(internet: SmallInternet) -> None:
    internet.names["pictures.example"] = [["93.184.215.20", "93.184.215.21"]]
    with pytest.raises(httpcore.ConnectError):
        connect(guarded(internet), "pictures.example")


@pytest.mark.parametrize("addresses", [["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC], ["::ffff:127.0.0.1"]])
def test_one_private_address_among_public_ones_is_enough_to_refuse(
    internet: SmallInternet, addresses: list[str]
) -> None:
    internet.names["pictures.example"] = [addresses]
    assert refusal(guarded(internet), "pictures.example").cause == PRIVATE
    assert internet.connections == []


def test_an_allowed_host_may_be_private(internet: SmallInternet, pictures: MediaServer) -> None:
    internet.names["minio"] = [["127.0.0.1"]]
    network = guarded(internet, f"minio:{pictures.port}")
    connect(network, "minio", pictures.port)
    assert internet.connections == [("127.0.0.1", pictures.port)]
    assert refusal(network, "minio").cause == PRIVATE  # at port 80
    assert internet.connections == [("127.0.0.1", pictures.port)]


@pytest.mark.parametrize("host", ["nowhere.example", "a" * 64 + ".example"])
def test_a_host_without_an_address_is_unreachable(internet: SmallInternet, host: str) -> None:
    assert refusal(guarded(internet), host).cause == UNREACHABLE


def test_a_name_that_python_cannot_encode_is_unreachable() -> None:
    assert refusal(GuardedNetwork(AllowedHosts(())), "a" * 64 + ".example").cause == UNREACHABLE


def test_a_name_server_that_does_not_answer_takes_no_longer_than_a_connection(internet: SmallInternet) -> None:
    async def wait(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(httpcore.ConnectTimeout):
        connect(GuardedNetwork(AllowedHosts(()), wait, internet), "pictures.example", timeout=0.05)


def test_sockets_of_this_machine_are_refused(internet: SmallInternet) -> None:
    with pytest.raises(Unusable):
        asyncio.run(guarded(internet).connect_unix_socket("/run/docker.sock"))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0x7f000001", "127.1", "017700000001"])
def test_other_spellings_of_loopback_are_looked_up_as_loopback(host: str) -> None:
    try:
        found = asyncio.run(resolve(host, 80))
    except socket.gaierror:
        pytest.skip("this system reads only the usual spelling")
    assert found == ["127.0.0.1"]

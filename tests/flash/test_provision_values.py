import base64
import configparser
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from root_trees import PUBLIC_KEY

from edgekit.core.errors import UsageError
from edgekit.flash.provision import HomeFile, HostKeyPair, Provision, Unit, Wifi, new_host_key
from edgekit.flash.provision import wifi as networks
from edgekit.flash.provision.accounts import Accounts, add_account, hosts_with_name, lock_password

yaml = pytest.importorskip("yaml")
TEXT = st.text(max_size=70)


@pytest.mark.parametrize(
    "name",
    [
        *("", "-a", "a-", "a_b", "A", "a..b", "a.", "a" * 64, "ü", "a b", "a\n", "$(x)"),
        *("1.2.3.4", "localhost", "a;b", "a." * 40 + "a"),
    ],
)
def test_wrong_hostname_is_refused(name):
    with pytest.raises(UsageError, match="host name"):
        Provision("user", hostname=name)


@pytest.mark.parametrize("name", ["a", "bench-pi", "pi4.lab.example", "a" * 63, "0a"])
def test_good_hostname_is_taken(name):
    assert Provision("user", hostname=name).hostname == name


@pytest.mark.parametrize(
    "name", ["", "1a", "-a", "A", "a b", "a:b", "a\n", "a" * 33, "ü", "$x", "sshd", "nobody", "a/b"]
)
def test_wrong_user_is_refused(name):
    with pytest.raises(UsageError):
        Provision(name)


def damaged_keys():
    kind, blob, _ = PUBLIC_KEY.split()
    yield from ["", "ssh-ed25519", "hello", kind + "  " + blob, f"{kind} {blob[:-8]}", f"{kind} !"]
    yield f"ssh-rsa {blob}"
    yield f"ssh-dss {blob}"
    yield f'command="sh" {PUBLIC_KEY}'
    yield PUBLIC_KEY + "\n" + PUBLIC_KEY
    yield PUBLIC_KEY + "\r"
    yield f"{kind} {base64.b64encode(b'abc').decode()}"


@pytest.mark.parametrize("line", list(damaged_keys()))
def test_what_is_no_public_key_is_refused(line):
    with pytest.raises(UsageError):
        Provision("user", (line,))


def test_private_key_is_refused_and_not_repeated():
    private = new_host_key().private
    for text in (private, private.replace("\n", " ")):
        with pytest.raises(UsageError, match="private key") as caught:
            Provision("user", (text,))
        assert private.splitlines()[1][:30] not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "password", ["", "1234567", "x" * 64, "pässwörter", "12345678\n", "a\0bcdefg"]
)
def test_wrong_passphrase_is_refused_and_not_repeated(password):
    with pytest.raises(UsageError) as caught:
        Wifi("net", password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    "ssid", ["", "x" * 33, "ü" * 17, "a\nb", "a\0b", "\x85", "\u2028", "\ud800"]
)
def test_wrong_ssid_is_refused(ssid):
    with pytest.raises(UsageError):
        Wifi(ssid, "password")


@pytest.mark.parametrize("country", ["", "gb", "GBR", "G1", "G\n"])
def test_wrong_country_is_refused(country):
    with pytest.raises(UsageError):
        Wifi("net", "password", country)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "-a", 'a"b', "a\nb", "a$b"],
)
def test_path_outside_the_home_folder_is_refused(path):
    with pytest.raises(UsageError):
        HomeFile(path)


@pytest.mark.parametrize("link", ["", "/etc/passwd", "../x", "x/../../../y", "a\nb"])
def test_link_out_of_the_home_folder_is_refused(link):
    with pytest.raises(UsageError):
        HomeFile("a" if link == "../x" else "a/b", link=link)


def test_special_modes_and_twice_the_same_are_refused(tmp_path):
    with pytest.raises(UsageError, match="mode"):
        HomeFile("a", tmp_path, 0o4755)
    with pytest.raises(UsageError, match="a file and a link"):
        HomeFile("a", tmp_path, link="b")
    with pytest.raises(UsageError, match="twice: a"):
        Provision("user", files=(HomeFile("a"), HomeFile("a", tmp_path)))


@pytest.mark.parametrize(
    "name", ["a", "../a.service", "a b.service", "a.mount", ".service", "a@.service"]
)
def test_wrong_unit_is_refused(name):
    with pytest.raises(UsageError):
        Unit(name, "[Service]\n")


def test_halves_of_a_host_key_are_told_apart():
    key = new_host_key()
    with pytest.raises(UsageError):
        HostKeyPair(key.public, key.private)
    with pytest.raises(UsageError):
        HostKeyPair(key.private.replace("\n", "\n;"), key.public)
    assert new_host_key().public != key.public
    assert key.private not in repr(Provision("user", host_key=key))
    assert "password" not in repr(Wifi("net", "password1")).replace("password=", "")


def is_taken(make):
    try:
        make()
    except UsageError:
        return False
    return True


@settings(deadline=None)
@given(TEXT)
def test_whatever_is_taken_is_one_line_of_harmless_text(text):
    for make in (
        lambda: Provision("user", hostname=text),
        lambda: Provision(text),
        lambda: Provision("user", (text,)),
        lambda: Wifi("net", text),
        lambda: HomeFile(text),
    ):
        if is_taken(make):
            assert len(text.splitlines()) == 1
            assert "\0" not in text


def wifis():
    def good(ssid):
        return bool(ssid) and ssid.isprintable() and len(ssid.encode()) <= 32

    ssids = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(good)
    passwords = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=63)
    return st.builds(
        Wifi, ssids, st.none() | passwords, st.sampled_from([None, "GB"]), st.booleans()
    )


@settings(deadline=None, max_examples=60)  # each derives a key
@given(wifis())
def test_network_survives_every_file_that_it_is_written_to(wifi):
    key = networks.pre_shared_key(wifi)
    netplan = yaml.safe_load(networks.yaml_text({"network": networks.netplan(wifi)}))
    points = netplan["network"]["wifis"]["wlan0"]["access-points"]
    assert list(points) == [wifi.ssid]
    assert points[wifi.ssid].get("password") == key
    keyfile = configparser.ConfigParser(interpolation=None)
    keyfile.read_string(networks.network_manager(wifi))
    numbers = [int(number) for number in keyfile["wifi"]["ssid"].split(";") if number]
    assert bytes(numbers).decode() == wifi.ssid
    assert keyfile.has_section("wifi-security") == (key is not None)
    lines = networks.wpa_supplicant(wifi).splitlines()
    (ssid,) = (line for line in lines if line.startswith("\tssid="))
    assert bytes.fromhex(ssid.removeprefix("\tssid=")).decode() == wifi.ssid
    assert all(line.isascii() and line.isprintable() for line in map(str.strip, lines))


def test_pre_shared_key_is_the_standards_own_example():
    # Source: IEEE 802.11-2020, annex J.4.2, test vector 1.
    key = networks.pre_shared_key(Wifi("IEEE", "password"))
    assert key == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"


NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,31}", fullmatch=True)


@settings(deadline=None)
@given(NAMES)
def test_account_files_gain_one_line_each(name):
    files = Accounts(
        "root:x:0:0::/root:/bin/sh\n", "root:*:1::::::\n", "root:x:0:\nsudo:x:27:\n", ""
    )
    made = add_account(files, name)
    again = add_account(made, name)
    assert made == again
    if name not in {"root", "sudo"}:
        assert len(made.passwd.splitlines()) == len(made.shadow.splitlines()) == 2
        assert f"sudo:x:27:{name}" in made.group
    assert made.gshadow == ""


def test_hosts_and_password_change_one_line():
    hosts = "127.0.0.1 localhost\n127.0.1.1 old\n# end\n"
    assert hosts_with_name(hosts, "a.b") == "127.0.0.1 localhost\n127.0.1.1\ta.b a\n# end\n"
    assert hosts_with_name("", "a") == "127.0.1.1\ta\n"
    assert lock_password("a:x:1:\nb:y:2:\n", "b").startswith("a:x:1:\nb:*:")


def test_public_half_belongs_to_the_private_one(tmp_path):
    key = new_host_key()
    path = tmp_path / "key"
    path.write_text(key.private)
    path.chmod(0o600)
    try:
        done = subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    assert done.stdout.decode().split()[:2] == key.public.split()

"""Private data in texts. The numbers are the ones that card schemes, the IBAN registry and regulators publish for tests and fiction."""

import re
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.privacy.detectors import KINDS, find, may_hold, redact

PUBLISHED_CARDS = (
    "4111111111111111 4012888888881881 4222222222222 5555555555554444 5105105105105100 2223003122003222 378282246310005 371449635398431 "
    "6011111111111117 6011000990139424 30569309025904 38520000023237 3530111333300000 3566002020360505"
)
CARDS = tuple(PUBLISHED_CARDS.split())
IBANS = (
    "GB29 NWBK 6016 1331 9268 19",
    "DE89 3704 0044 0532 0130 00",
    "FR14 2004 1010 0505 0001 3M02 606",
    "NO93 8601 1117 947",
    "CH9300762011623852957",
    "MT84MALT011000012345MTLCAST001S",
    "SA0380000000608010167519",
    "BR1500000000000010932840814P2",
)
SECRETS = (
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "sk-proj-4f9aQ7xLz0BvT2kWm8RnE5yJcU1h",
    "xoxb-123456789012-abcdEFGH5678ijkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\n-----END RSA PRIVATE KEY-----",
)
FOUND = {
    "email": ("ann.lee@example.com", "a+tag@sub.mail.co.uk", "o'hara@firm.ie"),
    "phone": ("+44 20 7946 0958", "+1 202-555-0123", "(212) 555-0199", "650-253-0000", "+4930123456", "+33 6 12 34 56 78"),
    "payment_card": (*CARDS, "4111 1111 1111 1111", "4111-1111-1111-1111", "3782 822463 10005"),
    "iban": IBANS,
    "ip_address": ("81.2.69.142", "203.0.113.7", "2001:db8:85a3::8a2e:370:7334", "2606:4700:4700::1111"),
    "secret": SECRETS,
}
HARMLESS = (
    "released 2026-11-24T18:19:36.123Z, that is 1795544376123 ms, on 24/11/2026 at 18:19:36",
    "ISBN 978-3-16-148410-0 and 0-306-40615-2, ISSN 2049-3630, doi:10.1000/182",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301 and 550e8400-e29b-41d4-a716-446655440000",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8, sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "version 10.20.30.40, v1.22.333.4, package==4.11.22.33, section 1.2.3.4, Chrome/120.0.6099.109",
    "127.0.0.1 and 192.168.1.1 and 10.0.0.255 and 0.0.0.0 and 256.1.12.1 and fe80::1 and ::1",
    "std::vector<int> dead::beef(Abc::def), 01:23:45:67:89:ab",
    "@property, user@host, package@1.2.3, logo@2x.png, git@github.com:me/it.git, a @ b",
    "token = tokenizer.next_token(); secret_key = os.environ['A_LONG_NAME_OF_A_KEY']; password: correct-horse-battery-staple",
    "pi is 3.14159265358979323846, e is 2.718281828459045, 1,000,000,000,000 and 6.02214076e23; x = 4111111111111112",
    "for i in range(1000000000): print(0xDEADBEEF, 1234567890123456)",
    "GB29 NWBK 6016 1331 9268 18 has a wrong check digit, DE89 alone says nothing, AB12 CD34 EF56 GH78 neither",
    "call 110, 555-1234 or 2-1 (1999-2004), pp. 123-145, 1914-1918 and 1939-1945",
)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_what_is_private_is_found_where_it_stands(kind: str, text: str) -> None:
    for before, after in (("", ""), ("Mine: ", "."), ("Ask (", "), please."), ("one\n", "\ntwo")):
        whole = f"{before}{text}{after}"
        (finding,) = find(whole)
        assert (finding.kind, whole[finding.start : finding.end]) == (kind, text)
        assert may_hold(pl.Series([whole]))[0]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_private_is_left_alone(text: str) -> None:
    assert [(finding.kind, text[finding.start : finding.end]) for finding in find(text)] == []


@pytest.mark.parametrize("text", ['api_key = "9f8A7c6D5e4B3a2F1g0H"', "the secret is 7Hq2xN9vLp4WzT8rKd3m", "TOKEN=ab12cd34ef56ab78cd90"])
def test_random_strings_after_words_of_secrets_are_secrets(text: str) -> None:
    (finding,) = find(text)
    assert finding.kind == "secret"
    assert re.fullmatch(r"[A-Za-z0-9]{20}", text[finding.start : finding.end])


def test_a_redacted_text_keeps_the_rest_and_holds_nothing_more() -> None:
    text = "Write to ann.lee@example.com or +44 20 7946 0958; pay with 4111 1111 1111 1111 from 203.0.113.7."
    assert redact(text) == "Write to [e-mail] or [phone number]; pay with [payment card] from [IP address]."
    assert redact(text, kinds=["email"]).startswith("Write to [e-mail] or +44 20")
    assert find(redact(text)) == []


def test_national_phone_numbers_are_those_of_the_region() -> None:
    assert find("020 7946 0958", region="GB")
    assert not find("020 7946 0958", region="US")
    assert not find("(212) 555-0199", region="")


PIECES = st.sampled_from([*(text for texts in FOUND.values() for text in texts), *HARMLESS, " ", "\n", "-", "1", "a", "é", "api_key: "])


@given(st.lists(PIECES | st.text(max_size=8), max_size=6).map("".join))
@settings(max_examples=150)
def test_the_cheap_look_passes_over_nothing_and_findings_do_not_overlap(text: str) -> None:
    findings = find(text)
    assert all(finding.kind in KINDS and finding.start < finding.end for finding in findings)
    assert all(one.end <= other.start for one, other in pairwise(findings))
    assert may_hold(pl.Series([text]))[0] or not findings

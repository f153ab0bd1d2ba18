"""Private data in texts: e-mail addresses, phone numbers, payment cards, IBANs, IP addresses and secrets, found and redacted.

A cheap look at whole columns (`may_hold`) says which texts are worth a closer one; then each kind has a detector that checks what can
be checked: check digits, lengths by country, ranges of addresses, entropy. Rather a few misses than many false alarms: names, postal
addresses and bare runs of digits are not looked for.

Addresses that are reserved for examples (`example.com`, 203.0.113.0/24, 555-01xx) count, since a text cannot tell whom they stand
for. Addresses that mean every machine's own network (127.0.0.1, 192.168.…, fe80::…) do not.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal, NamedTuple, get_args

import polars as pl

Kind = Literal["email", "phone", "payment_card", "iban", "ip_address", "secret"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MARKERS: dict[Kind, str] = {
    "email": "[e-mail]",
    "phone": "[phone number]",
    "payment_card": "[payment card]",
    "iban": "[IBAN]",
    "ip_address": "[IP address]",
    "secret": "[secret]",
}
DEFAULT_REGION = "US"


class Finding(NamedTuple):
    """One piece of private data in a text."""

    kind: Kind
    start: int
    end: int


@lru_cache(maxsize=4096)
def _found(text: str, region: str) -> tuple[Finding, ...]:
    found = [Finding(kind, start, end) for kind, detect in DETECTORS.items() for start, end in detect(text, region)]
    place = {kind: number for number, kind in enumerate(DETECTORS)}
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda one: (place[one.kind], one.start)):
        if all(finding.end <= other.start or finding.start >= other.end for other in kept):
            kept.append(finding)
    return tuple(sorted(kept, key=lambda one: one.start))


def find(text: str, region: str = DEFAULT_REGION) -> list[Finding]:
    """The private data in a text, in its order; findings do not overlap.

    Args:
        text: any text.
        region: country whose national phone numbers are known without a `+`, as two capital letters; empty for none.
    """
    return list(_found(text, region))


def redact(text: str, region: str = DEFAULT_REGION, kinds: Sequence[Kind] = KINDS) -> str:
    """The text with a marker such as `[e-mail]` in place of each finding of these kinds."""
    parts, end = [], 0
    for finding in _found(text, region):
        if finding.kind in kinds:
            parts += [text[end : finding.start], MARKERS[finding.kind]]
            end = finding.end
    return "".join([*parts, text[end:]])


# --- the cheap look ---

SECRET_WORDS = r"api[_ -]?key|access[_ -]?key|secret|token|passwd|password|passphrase|bearer"  # noqa: S105  (words, no password)
PREFIXES = r"AKIA|ASIA|AIza|eyJ|gh[pousr]_|github_pat_|glpat-|hf_|npm_|pypi-|rk_live_|sk-|sk_live_|sk_test_|SG\.|xox[abeprs]-"
CHEAP = (
    "[A-Za-z0-9]@[A-Za-z0-9]",
    "[0-9]" + "[ ./()-]{0,3}[0-9]" * 6,  # phone numbers and cards
    r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
    "[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]",
    "[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]",
    f"(?:{PREFIXES})[A-Za-z0-9]",
    "PRIVATE KEY-----",
    f"(?i:{SECRET_WORDS})[^\n]{{0,24}}[:= ][ \"'`]*[A-Za-z0-9+/_.=-]{{16}}",
)
"""One pass each: apart, they are several times as fast as one expression of all."""


def may_hold(texts: pl.Series) -> pl.Series:
    """Which texts of a column are worth a closer look; no detector finds anything in the others. Null counts as empty."""
    worth = pl.Series([False]).new_from_index(0, len(texts))
    for pattern in CHEAP:
        worth |= texts.str.contains(pattern).fill_null(value=False)
    return worth


# --- the detectors: each gives the places of its findings ---

Places = Iterator[tuple[int, int]]

EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9](?:[\w.+%'-]{0,62}[\w+%-])?@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"
)
SERVICE_LOGINS = ("git@github.com", "git@gitlab.com", "git@bitbucket.org")
FILE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".js", ".css", ".py", ".ts", ".html")
"""`logo@2x.png` is a picture for a screen of twice the density."""


def _emails(text: str, _: str) -> Places:
    for match in EMAIL.finditer(text) if "@" in text else ():
        address = match.group().lower()
        if address not in SERVICE_LOGINS and not address.endswith(FILE_ENDINGS):
            yield match.span()


NUMBER = re.compile(CHEAP[1])


def _phones(text: str, region: str) -> Places:
    """Numbers that Google's phone number library holds to be valid; without a country code, only ones that are written in groups."""
    if not NUMBER.search(text):
        return
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PhoneNumberMatcher(text, region or None, leniency=Leniency.STRICT_GROUPING):
        opened = match.raw_string.startswith("(") and ")" not in match.raw_string
        start = match.start + opened
        if text[start] == "+" or re.search(r"\d\)?[ -]+\d", text[start : match.end]):
            yield start, match.end


CARD = re.compile(r"(?<![\w.+-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|\.\d)")
ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|(?:6011|64[4-9]\d|65\d{2})\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
"""Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay, by their published number ranges and lengths."""


def _cards(text: str, _: str) -> Places:
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if ISSUERS.fullmatch(digits) and luhn(digits) and len(set(digits)) > 1:
            yield match.span()


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}")
IBAN_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 "
    "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 "
    "LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 "
    "SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_LENGTHS = {country: int(length) for country, length in re.findall(r"([A-Z]{2})(\d\d)", IBAN_REGISTRY)}
"""Characters of an IBAN by country, after the registry that SWIFT publishes."""


def _ibans(text: str, _: str) -> Places:
    for match in IBAN.finditer(text):
        length, end, count = IBAN_LENGTHS.get(match.group()[:2], 0), match.start(), 0
        while count < length and end < match.end():
            count, end = count + text[end].isalnum(), end + 1
        whole = length and count == length and not text[end : end + 1].isalnum()
        if whole and mod_97(re.sub(r"[ -]", "", text[match.start() : end])):
            yield match.start(), end


def mod_97(iban: str) -> bool:
    """Whether the check digits of an IBAN without spaces are right (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


V4 = re.compile(r"(?<![\w.-])(\d{1,3}(?:\.\d{1,3}){3})(?![\w-]|\.\d)")
V6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
OWN_NETWORKS = [ip_network(f"{first}") for first in ("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12")]
OWN_NETWORKS += [ip_network(f"{first}") for first in ("192.168.0.0/16", "224.0.0.0/3")]
VERSION = re.compile(r"(?i:version|release|build|section|chapter|v|§|==|>=|~=)\W{0,3}$")


def _ips(text: str, _: str) -> Places:
    """Public IPv4 addresses, apart from what stands like a version or section number; and global IPv6 addresses (2000::/3)."""
    for match in V4.finditer(text):
        parts = match.group().split(".")
        plain = all(part == str(int(part)) and int(part) < 256 for part in parts) and any(len(part) > 1 for part in parts)
        if plain and not VERSION.search(text[max(0, match.start() - 12) : match.start()]):
            address = IPv4Address(match.group())
            if not any(address in network for network in OWN_NETWORKS):
                yield match.span()
    for match in V6.finditer(text):
        try:
            IPv6Address(match.group())
        except ValueError:
            continue
        yield match.span()


TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-(?:proj-|ant-|or-)?[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|xox[abeprs]-[\w-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})(?![A-Za-z0-9])"
)
PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\Z)", re.DOTALL)
ASSIGNED = re.compile(
    rf"(?i:{SECRET_WORDS})[\w-]{{0,16}}[\"'`]?(?: ?(?:is|:=|=>|[:=]) ?| )[\"'`]?(?:Bearer )?([A-Za-z0-9+/_.=-]{{16,512}})"
)
LEAST_ENTROPY = 3.3
"""Bits per character: 16 hexadecimal digits drawn at random have 3.3 on average and words of a language about 3, mostly without digits."""


def _secrets(text: str, _: str) -> Places:
    for pattern in (PEM, TOKENS):
        for match in pattern.finditer(text):
            if _looks_random(match.group()[:64]):
                yield match.span()
    for match in ASSIGNED.finditer(text):
        if _looks_random(match.group(1)):
            yield match.span(1)


def _looks_random(text: str) -> bool:
    return bool((re.search(r"\d", text) and re.search("[A-Za-z]", text)) or "KEY--" in text) and entropy(text) >= LEAST_ENTROPY


def entropy(text: str) -> float:
    """Shannon entropy of a text's characters, in bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


DETECTORS: dict[Kind, Callable[[str, str], Places]] = {
    "secret": _secrets,
    "email": _emails,
    "iban": _ibans,
    "payment_card": _cards,
    "ip_address": _ips,
    "phone": _phones,
}
"""By precedence: where two kinds overlap, the first one counts."""

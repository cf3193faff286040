"""Text that others wrote, such as a server's answer, a file's name or a command's output.

Contract: what a terminal would obey is visible, and what opens a door is masked. Standard library
only and the syntax of Python 3.8, because set-up uses this module as well.
"""

import re
import unicodedata

MASK = "***"
_KEPT = "\n\t"
# Controls (C0, DEL, C1), format characters such as changes of direction, lone surrogates, and
# separators of lines and paragraphs.
_ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")
_VALUE = r"""[^\s"'&,;]+"""
# What comes before a secret stays, as group 1.
_SECRETS = tuple(
    re.compile(pattern)
    for pattern in (
        # User and password of a URL; a password may hold what should have been escaped.
        r"(://)(?:[^\s/?#]{0,300}|[^\s/?#@:]{1,300}:(?!\d+[/?#])[^\s@]{0,300})(?=@)",
        rf"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:[a-z]+\s+)?{_VALUE}",
        r"(?i)(\bbearer\s+)[^\s\"',;]{8,}",
        r"((?i:\bbasic)\s+)(?=[A-Za-z+/]*[\d=])[A-Za-z\d+/]{6,}=*",
        r"(?i)(\b(?:\w+_)?(?:set-)?cookies?[\"']?\s*[:=]\s*[\"']?)[^\n\"']+",
        r"(?i)((?:pass(?:word|wd|phrase)|secret|token|(?:api|access|secret|private)[_-]?key|"
        rf"credential)s?(?:[\"']?\s*=\s*|[\"']\s*:\s*|(?<=word):\s*)[\"']?){_VALUE}",
        rf"(?i)([?&](?:key|sig|code|[\w-]*(?:signature|credential|token))=){_VALUE}",
        r"()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",  # a JSON Web Token
    )
)


def shown(text: str) -> str:
    r"""The text with each character that acts and is not seen as its escape, such as ``\x1b``.

    Line feeds and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if _acts(c) else c for c in text)


def masked(text: str) -> str:
    """The text without passwords, tokens and cookies, as far as their form or name gives them away.

    Masked are user and password in URLs, credentials of HTTP headers, values called password,
    secret, token or key, signatures of URLs, and JSON Web Tokens.
    """
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def safe(text: str) -> str:
    """The text as a screen may show it: visible and masked."""
    return shown(masked(text))


def is_plain(name: str) -> bool:
    """Whether every character of a name is seen as it is, and there is one."""
    return bool(name.strip()) and shown(name) == name and not set(name) & set(_KEPT)


def _acts(character: str) -> bool:
    return character not in _KEPT and unicodedata.category(character) in _ACTING

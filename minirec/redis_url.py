"""Addresses of Redis: one form, understood alike by redis-py (the store) and by kombu (Celery's broker).

rediss://:PASSWORD@HOST:6379/0                            TLS; certificate and host name are checked
rediss://HOST/0?ssl_ca_certs=/etc/minirec/ca.pem          against an authority of your own
rediss://HOST/0?ssl_certfile=/a.pem&ssl_keyfile=/a.key    the client shows a certificate, too
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

SCHEMES = ("redis", "rediss", "unix")
FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
OTHERS = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_password", "ssl_ciphers")
CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def checked(url: str) -> str:
    """Return an address as redis-py takes it. Raise ValueError, without showing the password.

    Kombu's spelling `CERT_REQUIRED` becomes `required`. Files are looked for here, at the start, so that a wrong path
    is named once and not at every connection.
    """
    parts, query = split(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("should begin with redis://, rediss:// (TLS) or unix://")
    tls = {name: value for name, value in query.items() if name.startswith("ssl_")}
    if tls and parts.scheme != "rediss":
        raise ValueError(f"has {', '.join(tls)}, but does not ask for TLS; begin it with rediss://")
    if not tls:
        return url.strip()
    for name, value in tls.items():
        query[name] = checked_option(name, value)
    return parts._replace(query=urlencode(query, safe="/:")).geturl()


def checked_option(name: str, value: str) -> str:
    """Return an option of TLS as redis-py takes it. Raise ValueError."""
    if name not in FILES + OTHERS:
        raise ValueError(f"has the unknown option {name}; known are {', '.join(FILES + OTHERS)}")
    if name in FILES and not Path(value).exists():
        raise ValueError(f"names {name}={value}, and there is no such file on this machine")
    if name == "ssl_cert_reqs":
        value = value.lower().removeprefix("cert_")
        if value not in CERT_REQS:
            raise ValueError(f"has ssl_cert_reqs={value}; it is one of {', '.join(CERT_REQS)}")
    if name == "ssl_check_hostname":
        value = value.lower()
        if value not in SWITCHES:
            raise ValueError(f"has ssl_check_hostname={value}; it is true or false")
    return value


def split(url: str) -> tuple[SplitResult, dict[str, str]]:
    """Return the parts of an address, and its query as a dictionary. Raise ValueError."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is not an address ({error})") from None
    return parts, dict(parse_qsl(parts.query, keep_blank_values=True))


def for_broker(url: str) -> tuple[str, dict[str, Any] | None]:
    """Return Celery's `broker_url` and `broker_use_ssl` for an address that was `checked`.

    Kombu's own reading of `rediss://` does not check certificates unless told to; here it checks what redis-py checks.
    """
    parts, query = split(url)
    if parts.scheme != "rediss":
        return url, None
    options: dict[str, Any] = {name: query.pop(name) for name in list(query) if name.startswith("ssl_")}
    options["ssl_cert_reqs"] = CERT_REQS[options.get("ssl_cert_reqs", "required")]
    options["ssl_check_hostname"] = SWITCHES[options.get("ssl_check_hostname", "true")]
    if options["ssl_cert_reqs"] is ssl.CERT_NONE:
        options["ssl_check_hostname"] = False
    return parts._replace(query=urlencode(query, safe="/:")).geturl(), options

"""Where the service is and how it is reached: base URL, key, proxies, and what a failed connection means."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from typing import TypeVar

import httpx2

from minirec.client.errors import APIConnectionError, APITimeoutError, ConfigurationError

H = TypeVar("H", httpx2.Client, httpx2.AsyncClient)

EXAMPLE_URL = "http://127.0.0.1:8000"
"""Shown where an address is not one."""
NOT_TLS = re.compile("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|record layer failure|HTTP_REQUEST|UNKNOWN_PROTOCOL")
"""What OpenSSL calls an answer that is not TLS."""
CREDENTIALS = re.compile(r"(?:(?<=://)|^)[^/@\s]*@")
"""User name and password in a URL."""


def checked_base_url(text: str) -> str:
    """Return the service's address without a trailing slash. Raise ConfigurationError where it is not one."""
    url = text.strip().rstrip("/")
    if "://" not in url:
        host = url.lstrip("/")
        raise bad_url(text, "it does not start with http:// or https://", f"http://{host or 'HOST:PORT'}")
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("http", "https"):
        raise bad_url(text, f"{scheme!r} is not a scheme of HTTP", f"http://{rest}")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise bad_url(text, str(error), EXAMPLE_URL) from None
    if not parsed.host or "%20" in parsed.host or (parsed.port or 1) > 65_535:
        raise bad_url(text, "its host or port is not valid", EXAMPLE_URL)
    if parsed.query or parsed.fragment:
        raise bad_url(text, "it has a query or a fragment", re.split(r"[?#]", url)[0])
    if re.search(r"/v1(/|$)", parsed.path):
        raise bad_url(text, "the client adds /v1 itself", re.split(r"/v1(?:/|$)", url)[0])
    return url


def bad_url(text: str, reason: str, instead: str) -> ConfigurationError:
    """Return the error for a base URL."""
    return ConfigurationError(
        f"the base URL {without_credentials(text)!r} cannot be used: {reason}. "
        f"Give the service's address, for example {without_credentials(instead)}"
    )


def checked_key(text: str | None) -> str | None:
    """Return the key without white space around it, null where nothing is left. Raise ConfigurationError.

    The error does not show the key.
    """
    key = (text or "").strip()
    unfit = next((place for place, character in enumerate(key, 1) if not " " < character <= "~"), None)
    if unfit is not None:
        character = key[unfit - 1]
        kind = "a space or control character" if character <= " " or character == "\x7f" else "not an ASCII character"
        raise ConfigurationError(
            f"the API key cannot be sent: its character {unfit} of {len(key)} is {kind}. Copy the key again, "
            "without quotation marks, dashes or spaces that an editor may have changed."
        )
    return key or None


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def open_http(kind: type[H], base_url: str) -> H:
    """Return an HTTP client for a service. This machine is never reached through a proxy.

    Raise ConfigurationError where the environment names a proxy that cannot be used.
    """
    if is_loopback(httpx2.URL(base_url).host):
        return kind(trust_env=False, verify=httpx2.create_ssl_context())
    try:
        return kind()
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        named = ", ".join(proxy_variables()) or "the system's proxy settings"
        if isinstance(error, ImportError) and "socks" in str(error).lower():
            reason = "a SOCKS proxy needs one more package: pip install 'httpx2[socks]'"
        else:
            reason = f"{without_credentials(str(error))} Give http://HOST:PORT, https:// or socks5://"
        raise ConfigurationError(
            f"the proxy cannot be used ({named}): {reason}. NO_PROXY lists hosts that need none."
        ) from None


def proxy_variables() -> Iterator[str]:
    """Yield the environment's proxies as `NAME=URL`, without passwords."""
    for name, value in sorted(os.environ.items()):
        if value and name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            yield f"{name}={without_credentials(value)}"


def without_credentials(text: str) -> str:
    """Return text whose URLs show no user name and no password."""
    return CREDENTIALS.sub("", text)


def connection_error(error: httpx2.TransportError) -> APIConnectionError:
    """Return the SDK's error for a transport's, saying which address did not answer and what to try."""
    url = without_credentials(str(error.request.url))
    if isinstance(error, httpx2.TimeoutException):
        return APITimeoutError(f"{url} did not answer in time ({type(error).__name__})")
    reason = without_credentials(str(error)) or type(error).__name__
    return APIConnectionError(f"{url} cannot be reached ({reason}). {advice(error)}")


def advice(error: httpx2.TransportError) -> str:
    """Return what to do about a failed connection."""
    url = error.request.url
    address = url.netloc.decode()
    if url.scheme == "https" and NOT_TLS.search(str(error)):
        return f"The port speaks http, not https: use http://{address}"
    if isinstance(error, httpx2.ProxyError):
        return f"The proxy refused ({', '.join(proxy_variables())}). NO_PROXY={url.host} goes around it."
    if certificate_refused(error):
        return (
            "Its certificate is not signed by an authority that this machine trusts, or is not for this host. "
            "SSL_CERT_FILE names a file with the authority's certificate."
        )
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError) and url.scheme == "http":
        return f"Is there a MiniRec service at this port? If it speaks https, use https://{address}"
    return "Is the service running? `minirec up` starts one; MINIREC_BASE_URL or base_url= names another."


def certificate_refused(error: BaseException) -> bool:
    """Return whether a certificate was the reason of an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False

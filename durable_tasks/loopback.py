"""Loopback: whether a host's name or address is this very machine.

It must not know what is bound or asked there; it looks nothing up.
"""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Only for names and addresses that can mean nothing else: "" and "0.0.0.0" are every interface."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False

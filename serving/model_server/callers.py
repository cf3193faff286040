"""Who may call over REST: answers to those who may not, and what browsers are told.

Contract: decided by the headers, before a body is read. The refusal of a ``Host`` stops pages whose
name was made to lead here; that of a body which is not JSON stops pages of other sites, as a
browser sends JSON for them only after it has asked the server, which does not allow it.
"""

from aiohttp import web

from serving.access import UNAUTHENTICATED, Access, is_json
from serving.model_server.http_server import error_response


def refusal(request: web.BaseRequest, access: Access, any_page: bool) -> web.Response | None:
    """The answer to one who may not call; None for all others.

    Args:
        request: Only its headers are read.
        access: What callers are asked for.
        any_page: Pages of every site may call, as --rest_api_enable_cors_support allows it.
    """
    hosts = request.headers.getall("Host", [])
    if not access.is_host(hosts):
        return error_response(
            403,
            f"This server is not called {', '.join(hosts)!r}; if it is, start it with "
            "--allowed_host=NAME.",
        )
    is_preflight = request.method == "OPTIONS"  # which cannot hold the token
    if not is_preflight and not access.is_authorized(request.headers.get("Authorization", "")):
        return error_response(401, UNAUTHENTICATED, {"WWW-Authenticate": "Bearer"})
    is_foreign = access.is_foreign(request.headers.get("Origin", ""), "".join(hosts))
    is_unasked = request.method == "POST" and not is_json(request.headers.get("Content-Type", ""))
    if is_foreign and is_unasked and not any_page:
        return error_response(415, "A page of another origin may send application/json alone.")
    return None


def cors_headers(request: web.BaseRequest, access: Access, any_page: bool) -> dict[str, str]:
    """Headers by which a browser lets the page that calls read the answer."""
    origin = request.headers.get("Origin", "")
    if not any_page and not access.is_page(origin, request.headers.get("Host", "")):
        return {}
    return {
        "Access-Control-Allow-Origin": "*" if any_page else origin,
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type" + ", Authorization" * bool(access.token),
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }

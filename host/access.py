"""Who may use a server that others can reach: those with the token of its first address, and then with its cookie."""

from __future__ import annotations

import hmac
import secrets

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

TOKEN, COOKIE = "token", "vdit_token"


def new_token() -> str:
    """For one start of the server: 128 random bits."""
    return secrets.token_urlsafe(16)


def with_token_only(token: str) -> Middleware:
    """Answers 401 without the token. A page opened with ?token= gets a cookie and goes on to its address without it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _equal(request.cookies.get(COOKIE), token):
            return await handler(request)
        if not _equal(request.rel_url.query.get(TOKEN), token):
            text = "this server asks for its token: open the address that it printed when it started"
            raise web.HTTPUnauthorized(text=text)
        if request.method != "GET":
            return await handler(request)
        query = [(name, value) for name, value in request.rel_url.query.items() if name != TOKEN]
        answer = web.HTTPFound(request.rel_url.with_query(query))
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Lax")
        raise answer

    return middleware


def _equal(given: str | None, token: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
